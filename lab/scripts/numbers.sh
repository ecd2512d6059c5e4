# On a client: writes $TAG and a number into each of $COUNT blocks of $DISK behind block $BASE, one at a
# time, through every cache, and notes in /tmp/acked how far it got.
for number in $(seq "$COUNT"); do
    printf '%s-%08d' "$TAG" "$number" |
        dd of="$DISK" oflag=direct,dsync bs=4096 seek=$((BASE + number)) iflag=fullblock conv=sync 2>/tmp/dd || {
        cat /tmp/dd
        exit 1
    }
    echo "$number" >/tmp/acked
done
