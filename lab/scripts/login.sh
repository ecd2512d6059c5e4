# On a client: logs in to TARGET at PORTAL as $IQN with CHAP ($CHAP_USER, $CHAP_PASSWORD), and prints the
# disk's name in /dev. The kernel gives a lost session up after
# $PATIENCE seconds, 5 if nothing is said, instead of two minutes.
mkdir -p /etc/iscsi /run/lock/iscsi /var/lib/iscsi
echo "InitiatorName=$IQN" >/etc/iscsi/initiatorname.iscsi
pgrep iscsid >/dev/null || { setsid iscsid -f >/tmp/iscsid.log 2>&1 </dev/null & }
node="iscsiadm -m node -T $TARGET -p $PORTAL"
for try in $(seq 50); do $node -o new >/tmp/new 2>&1 && break; sleep 0.2; done
set -e
$node -o update -n node.session.timeo.replacement_timeout -v "${PATIENCE:-5}"
$node -o update -n node.session.auth.authmethod -v CHAP
$node -o update -n node.session.auth.username -v "$CHAP_USER"
$node -o update -n node.session.auth.password -v "$CHAP_PASSWORD"
$node --login >/tmp/login 2>&1 || { cat /tmp/login; exit 1; }
for try in $(seq 100); do
    for session in /sys/class/iscsi_session/session*; do
        [ "$(cat $session/targetname)" = "$TARGET" ] || continue
        for disk in $session/device/target*/*:1/block/*; do
            [ -e "$disk" ] && { echo "${disk##*/}"; exit 0; }
        done
    done
    sleep 0.1
done
echo "logged in, and no disk appeared"
exit 1
