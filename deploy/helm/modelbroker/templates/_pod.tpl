{{- define "modelbroker.restricted" -}}
runAsNonRoot: true
runAsUser: 101
runAsGroup: 101
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- /* A command that asks for a path on loopback, where the kubelet does not get: 0 where the answer is 200.
       A list of port and path. */ -}}
{{- define "modelbroker.asks" -}}
exec:
  command:
    - /bin/bash
    - -c
    - >-
      exec 3<>/dev/tcp/127.0.0.1/{{ index . 0 }}
      && printf 'GET {{ index . 1 }} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n' >&3
      && read -r -t 4 line <&3 && [[ $line == 'HTTP/1.1 200 '* ]]
{{- end }}

{{- define "modelbroker.adminProbe" -}}
{{- if include "modelbroker.isGateway" .root -}}
httpGet: {path: {{ .path }}, port: admin}
{{- else -}}
{{ include "modelbroker.asks" (list (int .root.Values.ports.admin) .path) }}
{{- end }}
{{- end }}

{{- define "modelbroker.listenerProbe" -}}
{{- if not (include "modelbroker.isGateway" .) -}}
{{ include "modelbroker.asks" (list (int .Values.ports.listener) "/healthz") }}
{{- else if .Values.tls.requireClientCert -}}
tcpSocket: {port: listener}
{{- else -}}
httpGet: {path: /healthz, port: listener, scheme: {{ ternary "HTTPS" "HTTP" (ne .Values.tls.secretName "") }}}
{{- end }}
{{- end }}

{{- /* The control plane. A sidecar in either mode: it starts before Envoy and ends behind it. */ -}}
{{- define "modelbroker.brokerContainer" -}}
{{- $host := ternary "0.0.0.0" "127.0.0.1" (eq .Values.mode "gateway") -}}
name: modelbroker
image: {{ include "modelbroker.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
restartPolicy: Always
args:
  - serve
  {{- if .Values.config.args }}
  {{- range .Values.config.args }}
  - {{ . | quote }}
  {{- end }}
  {{- else }}
  - --config
  - /etc/modelbroker
  {{- end }}
  - --state-dir
  - /var/lib/modelbroker
  - --address
  - {{ $host }}
  - --port
  - {{ .Values.ports.listener | quote }}
  - --admin
  - {{ printf "%s:%d" $host (int .Values.ports.admin) }}
  - --admin-commands
  - token
  - --xds
  - unix:/run/modelbroker/xds.sock
  - --ext-proc
  - unix:/run/modelbroker/ext-proc.sock
  - --envoy-admin
  - {{ ternary (printf "127.0.0.1:%d" (int .Values.ports.envoyAdmin)) "unix:/run/modelbroker/envoy-admin.sock" (eq .Values.mode "gateway") }}
  - --ejections
  - /run/modelbroker/ejections.log
  - --undecided
  - /run/modelbroker/undecided.jsonl
  - --drain-timeout
  - {{ .Values.broker.drainSeconds | quote }}
  - --log-level
  - {{ .Values.broker.logLevel }}
  {{- range .Values.broker.extraArgs }}
  - {{ . | quote }}
  {{- end }}
env:
  - {name: HOME, value: /var/lib/modelbroker}
  {{- with .Values.broker.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.credentials.envFrom }}
envFrom:
  {{- range . }}
  - secretRef: {name: {{ . }}}
  {{- end }}
{{- end }}
{{- if include "modelbroker.isGateway" . }}
ports:
  - {name: admin, containerPort: {{ .Values.ports.admin }}, protocol: TCP}
{{- end }}
startupProbe:
  {{- include "modelbroker.adminProbe" (dict "root" . "path" "/healthz") | nindent 2 }}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: 120
livenessProbe:
  {{- include "modelbroker.adminProbe" (dict "root" . "path" "/healthz") | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  {{- include "modelbroker.adminProbe" (dict "root" . "path" "/ready") | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 3
resources:
  {{- toYaml .Values.broker.resources | nindent 2 }}
securityContext:
  {{- include "modelbroker.restricted" . | nindent 2 }}
volumeMounts:
  - {name: modelbroker-sockets, mountPath: /run/modelbroker}
  - {name: modelbroker-state, mountPath: /var/lib/modelbroker}
  - {name: modelbroker-tmp, mountPath: /tmp}
  {{- if not .Values.config.args }}
  - {name: modelbroker-config, mountPath: /etc/modelbroker, readOnly: true}
  {{- end }}
  {{- if .Values.tls.secretName }}
  - {name: modelbroker-tls, mountPath: /run/tls, readOnly: true}
  {{- end }}
  {{- if .Values.tls.clientCaSecret }}
  - {name: modelbroker-client-ca, mountPath: /run/client-ca, readOnly: true}
  {{- end }}
  {{- range .Values.credentials.mounted }}
  - {name: secret-{{ . }}, mountPath: /run/secrets/{{ . }}, readOnly: true}
  {{- end }}
  {{- with .Values.broker.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- /* Envoy. In the gateway it is what the pod is for, and drains when it has to go. Beside an agent it is a sidecar
       that starts before the agent and ends behind it: a hook that drains would close the door while the agent
       still calls, for the hooks of all containers run at once. There it only waits for records. */ -}}
{{- define "modelbroker.envoyContainer" -}}
{{- $isGateway := eq .Values.mode "gateway" -}}
name: envoy
image: "{{ .Values.envoy.image.repository }}:{{ .Values.envoy.image.tag }}"
imagePullPolicy: {{ .Values.envoy.image.pullPolicy }}
{{- if not $isGateway }}
restartPolicy: Always
{{- end }}
command: [envoy]
args:
  - -c
  - /etc/envoy/envoy.yaml
  - --concurrency
  - {{ .Values.envoy.concurrency | quote }}
  - --drain-strategy
  - immediate
  - --drain-time-s
  - "7200"
  - --file-flush-interval-msec
  - "100"
  - --disable-hot-restart
  - --log-level
  - {{ .Values.envoy.logLevel }}
{{- if $isGateway }}
ports:
  - {name: listener, containerPort: {{ .Values.ports.listener }}, protocol: TCP}
{{- end }}
startupProbe:
  {{- include "modelbroker.listenerProbe" . | nindent 2 }}
  periodSeconds: 1
  timeoutSeconds: 5
  failureThreshold: 120
{{- if $isGateway }}
livenessProbe:
  {{- include "modelbroker.asks" (list (int .Values.ports.envoyAdmin) "/server_info") | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- else }}
livenessProbe:
  {{- include "modelbroker.listenerProbe" . | nindent 2 }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 12
{{- end }}
readinessProbe:
  {{- include "modelbroker.listenerProbe" . | nindent 2 }}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
lifecycle:
  preStop:
    exec:
      command:
        - /bin/bash
        - /etc/envoy/drain.sh
        - {{ .Values.ports.admin | quote }}
        - {{ .Values.drain.ledgerSeconds | quote }}
        {{- if $isGateway }}
        - {{ .Values.ports.envoyAdmin | quote }}
        - {{ .Values.drain.endpointsSeconds | quote }}
        - {{ .Values.drain.callsSeconds | quote }}
        {{- end }}
resources:
  {{- toYaml .Values.envoy.resources | nindent 2 }}
securityContext:
  {{- include "modelbroker.restricted" . | nindent 2 }}
volumeMounts:
  - {name: modelbroker-sockets, mountPath: /run/modelbroker}
  - {name: modelbroker-envoy, mountPath: /etc/envoy, readOnly: true}
{{- end }}

{{- /* The volumes of both; the state folder's is not among them where it is a claim. */ -}}
{{- define "modelbroker.volumes" -}}
- name: modelbroker-sockets
  emptyDir: {}
- name: modelbroker-tmp
  emptyDir: {sizeLimit: 256Mi}
{{- if not (and (eq .Values.mode "gateway") .Values.gateway.state.persistent) }}
- name: modelbroker-state
  emptyDir: {sizeLimit: {{ .Values.gateway.state.size }}}
{{- end }}
- name: modelbroker-envoy
  configMap: {name: {{ include "modelbroker.name" . }}-envoy}
{{- if not .Values.config.args }}
- name: modelbroker-config
  projected:
    sources:
      - configMap: {name: {{ .Values.config.existingConfigMap | default (printf "%s-config" (include "modelbroker.name" .)) }}}
      {{- if .Values.tls.secretName }}
      - configMap: {name: {{ include "modelbroker.name" . }}-listen}
      {{- end }}
{{- end }}
{{- if .Values.tls.secretName }}
- name: modelbroker-tls
  secret: {secretName: {{ .Values.tls.secretName }}}
{{- end }}
{{- if .Values.tls.clientCaSecret }}
- name: modelbroker-client-ca
  secret: {secretName: {{ .Values.tls.clientCaSecret }}, items: [{key: ca.crt, path: ca.crt}]}
{{- end }}
{{- range .Values.credentials.mounted }}
- name: secret-{{ . }}
  secret: {secretName: {{ . }}}
{{- end }}
{{- with .Values.broker.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The part of an agent's pod that the sidecar is: for a patch, a policy or the templates of another chart. */ -}}
{{- define "modelbroker.sidecar" -}}
initContainers:
  - {{- include "modelbroker.brokerContainer" . | nindent 4 }}
  - {{- include "modelbroker.envoyContainer" . | nindent 4 }}
volumes:
  {{- include "modelbroker.volumes" . | nindent 2 }}
{{- end }}

{{- define "modelbroker.agentEnv" -}}
- {name: OPENAI_BASE_URL, value: "http://127.0.0.1:{{ .Values.ports.listener }}/v1"}
- {name: ANTHROPIC_BASE_URL, value: "http://127.0.0.1:{{ .Values.ports.listener }}"}
{{- with .Values.sidecar.keySecret }}
- name: OPENAI_API_KEY
  valueFrom: {secretKeyRef: {name: {{ . }}, key: key}}
- name: ANTHROPIC_API_KEY
  valueFrom: {secretKeyRef: {name: {{ . }}, key: key}}
{{- end }}
{{- end }}
