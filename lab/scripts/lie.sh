#!/bin/bash
# On a client: an API that shows one volume's attachment under the name of another. Started for each
# connection by busybox nc; answers with what a scene has put into /tmp/lie-*.json.
read -r method path _
length=0
while read -r line; do
    line=${line%$'\r'}
    [ -z "$line" ] && break
    case ${line,,} in content-length:*) length=${line#*:} ;; esac
done
head -c "$((length))" >/dev/null
status='200 OK' body=/tmp/lie-attachment.json
case $method$path in
DELETE*) status='404 Not Found' body=/tmp/lie-gone.json ;;
*/host/hosts*) body=/tmp/lie-hosts.json ;;
esac
printf 'HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %s\r\nConnection: close\r\n\r\n' \
    "$status" "$(stat -c %s $body)"
cat $body
