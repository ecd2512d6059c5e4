# On a client: adds one $ROUNDS times to the number in block 100 of $DISK, by COMPARE AND WRITE alone.
done=0
tries=0
while [ $done -lt "$ROUNDS" ] && [ $tries -lt 400 ]; do
    tries=$((tries + 1))
    dd if="$DISK" iflag=direct bs=512 skip=100 count=1 of=/tmp/old 2>/dev/null
    value=$(tr -d '\0' </tmp/old)
    printf '%d' $((${value:-0} + 1)) >/tmp/new
    truncate -s 512 /tmp/new
    cat /tmp/old /tmp/new >/tmp/both
    sg_compare_and_write -q --lba=100 --num=1 --in=/tmp/both "$DISK" 2>/dev/null && done=$((done + 1))
done
echo "$done of $tries"
