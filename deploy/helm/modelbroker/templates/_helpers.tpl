{{- define "modelbroker.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "modelbroker.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "modelbroker.labels" -}}
{{ include "modelbroker.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: {{ .Values.mode }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "modelbroker.account" -}}
{{ .Values.serviceAccount.name | default (include "modelbroker.name" .) }}
{{- end }}

{{- define "modelbroker.isGateway" -}}
{{- if eq .Values.mode "gateway" }}yes{{ else if ne .Values.mode "sidecar" }}{{ fail (printf "mode is %q: it is gateway or sidecar" .Values.mode) }}{{ end }}
{{- end }}

{{- /* What is wrong with the values as a whole, told before anything is made of them. */ -}}
{{- define "modelbroker.check" -}}
{{- if and (not .Values.config.files) (not .Values.config.existingConfigMap) (not .Values.config.args) }}
{{- fail "there is no configuration: set config.files, config.existingConfigMap or config.args" }}
{{- end }}
{{- if and .Values.config.files .Values.config.existingConfigMap }}
{{- fail "config.files and config.existingConfigMap exclude each other" }}
{{- end }}
{{- if not (include "modelbroker.isGateway" .) }}
{{- if .Values.tls.secretName }}
{{- fail "tls is for the gateway: a sidecar listens on loopback, which the agent's pod alone reaches" }}
{{- end }}
{{- end }}
{{- if and .Values.tls.secretName .Values.config.args }}
{{- fail "tls and config.args exclude each other: name the files in listen.tls of that configuration, and mount them with broker.extraVolumes" }}
{{- end }}
{{- if and (not .Values.tls.secretName) (or .Values.tls.clientCaSecret .Values.tls.requireClientCert .Values.tls.certManager.enabled) }}
{{- fail "tls.clientCaSecret, tls.requireClientCert and tls.certManager need tls.secretName" }}
{{- end }}
{{- if and .Values.tls.requireClientCert (not .Values.tls.clientCaSecret) }}
{{- fail "tls.requireClientCert needs tls.clientCaSecret: the authorities of agents' certificates" }}
{{- end }}
{{- if and .Values.tls.certManager.enabled (not .Values.tls.certManager.issuerRef.name) }}
{{- fail "tls.certManager.issuerRef.name is missing: the issuer that signs the listener's certificate" }}
{{- end }}
{{- range $name, $text := .Values.config.files }}
{{- if not (regexMatch "^[A-Za-z0-9][-A-Za-z0-9_.]*\\.ya?ml$" $name) }}
{{- fail (printf "config.files: %q is no name of a YAML file" $name) }}
{{- end }}
{{- if not (kindIs "string" $text) }}
{{- fail (printf "config.files: %s has to be a text (`%s: |`)" $name $name) }}
{{- end }}
{{- if and $.Values.tls.secretName (regexMatch "(?m)^listen:" $text) }}
{{- fail (printf "config.files: %s has a section listen, and so has the chart by tls.secretName: leave one out" $name) }}
{{- end }}
{{- end }}
{{- if and (eq .Values.istio.mtls "broker") .Values.istio.enabled (not .Values.tls.clientCaSecret) }}
{{- fail "istio.mtls: broker needs tls.secretName and tls.clientCaSecret" }}
{{- end }}
{{- if not (has .Values.istio.mtls (list "mesh" "broker")) }}
{{- fail (printf "istio.mtls is %q: it is mesh or broker" .Values.istio.mtls) }}
{{- end }}
{{- end }}

{{- /* Envoy's bootstrap: what `modelbroker bootstrap` prints, with the ports and memory of the values. */ -}}
{{- define "modelbroker.bootstrap" -}}
{{- $file := ternary "files/envoy-gateway.yaml" "files/envoy-sidecar.yaml" (eq .Values.mode "gateway") -}}
{{ .Files.Get $file | replace "port_value: 9901" (printf "port_value: %d" (int .Values.ports.envoyAdmin)) | replace "max_heap_size_bytes: 1073741824" (printf "max_heap_size_bytes: %d" (int64 .Values.envoy.heapBytes)) }}
{{- end }}

{{- define "modelbroker.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}
