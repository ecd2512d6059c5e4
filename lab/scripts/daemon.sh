# Starts osds on the storage host, and waits until it serves.
rm -f /tmp/osds.out
setsid /host/osds all --config /pool/osds.toml >/tmp/osds.out 2>>/tmp/osds.log </dev/null &
echo $! >/run/osds.pid
for try in $(seq 600); do
    grep -q ^ready /tmp/osds.out && exit 0
    kill -0 $(cat /run/osds.pid) || break
    sleep 0.1
done
cat /tmp/osds.out /tmp/osds.log
exit 1
