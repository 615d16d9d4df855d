#!/bin/bash
# Envoy's preStop hook. Needs nothing but bash.
#
#   drain.sh BROKER_PORT LEDGER_S [ENVOY_PORT ENDPOINTS_S CALLS_S]
#
# In the gateway (with ENVOY_PORT, of Envoy's admin interface) the pod is to go, but the nodes still send it new
# connections until they have heard of it, and calls are under way:
# 1. Each connection is closed behind the call that it carries, and new ones are taken, for ENDPOINTS_S.
# 2. Then none is taken any more, and calls under way have CALLS_S to end.
# In either mode records that wait for a ledger then have LEDGER_S, for the state folder goes with the pod.
broker=$1
ledger_s=$2
envoy=$3
endpoints_s=$4
calls_s=$5
logs_s=1 # Envoy sends what it knows of the last calls within 0.2 s

# ask PORT METHOD PATH: what is answered there; nothing where nobody is.
ask() (
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    printf '%s %s HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n' "$2" "$3" >&3
    while IFS= read -r -t 5 line <&3; do
        printf '%s\n' "${line%$'\r'}"
    done
) 2>/dev/null

# waits SECONDS PORT PATH NAME: until what is called so there is 0, is not there, or the time is over.
waits() {
    local until_s=$((SECONDS + $1)) name value found
    while [ "$SECONDS" -lt "$until_s" ]; do
        found=0
        while read -r name value; do
            [ "$name" = "$4" ] && found=$value
        done < <(ask "$2" GET "$3")
        case $found in 0 | 0.0) return ;; esac
        sleep 0.2
    done
}

if [ -n "$envoy" ] && [ -n "$(ask "$envoy" POST /healthcheck/fail)" ]; then
    sleep "$endpoints_s"
    ask "$envoy" POST '/drain_listeners?inboundonly' >/dev/null
    waits "$calls_s" "$envoy" '/stats?filter=^http.outer.downstream_rq_active$' http.outer.downstream_rq_active:
fi
sleep "$logs_s"
waits "$ledger_s" "$broker" /metrics modelbroker_ledger_behind_bytes
