#!/bin/bash
# Envoy's preStop hook in the gateway. The pod is to go, but the nodes still send it new connections until they have
# heard of it, and calls are under way. Needs nothing but bash.
#
#   drain.sh ADMIN_PORT ENDPOINTS_S CALLS_S
#
# 1. Each connection is closed behind the call that it carries, and new ones are taken, for ENDPOINTS_S.
# 2. Then none is taken any more, and calls under way have CALLS_S to end.
port=$1
endpoints_s=$2
calls_s=$3
logs_s=1 # Envoy sends what it knows of the last calls within 0.2 s

# ask METHOD PATH: what Envoy's admin interface answers; nothing where there is no Envoy.
ask() (
    exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 1
    printf '%s %s HTTP/1.1\r\nhost: envoy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n' "$1" "$2" >&3
    while IFS= read -r -t 5 line <&3; do
        printf '%s\n' "${line%$'\r'}"
    done
) 2>/dev/null

calls() {
    ask GET '/stats?filter=^http.outer.downstream_rq_active$' |
        while IFS= read -r line; do
            case $line in
            *.downstream_rq_active:\ *) printf '%s\n' "${line##*: }" ;;
            esac
        done
}

[ -n "$(ask POST /healthcheck/fail)" ] || exit 0
sleep "$endpoints_s"
ask POST '/drain_listeners?inboundonly' >/dev/null
until_s=$((SECONDS + calls_s))
while active=$(calls) && [ "${active:-0}" -gt 0 ] && [ "$SECONDS" -lt "$until_s" ]; do
    sleep 0.2
done
sleep "$logs_s"
