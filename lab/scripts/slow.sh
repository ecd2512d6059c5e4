# On the storage host: a file system on a disk whose writes can be made to take $DELAY ms.
set -e
disk=/dev/vdc
table() { echo "0 $(blockdev --getsz $disk) delay $disk 0 0 $disk 0 $1"; }
retable() {
    dmsetup reload slow --table "$(table "$1")"
    dmsetup suspend --noflush --nolockfs slow
    dmsetup resume slow
}
case $DO in
make)
    dmsetup create slow --table "$(table 0)"
    mkdir -p /slow
    mount /dev/mapper/slow /slow 2>/dev/null && exit
    mkfs.ext4 -q -F -O ^has_journal /dev/mapper/slow
    mount /dev/mapper/slow /slow
    ;;
delay) retable "$DELAY" ;;
undelay) retable 0 ;;
busy)
    # Writes and flushes that are held up: start, length, delay, reads, writes, flushes.
    set -- $(dmsetup status --noflush slow)
    echo $(($5 + ${6:-0}))
    ;;
where)
    file=$(find /slow -name "volume-$VOLUME*" -type f)
    # By the file system's own cache.
    debugfs -R "bmap ${file#/slow} 0" /dev/mapper/slow 2>/dev/null | tail -1
    ;;
peek)
    # By the disk alone.
    dd if=$disk iflag=direct bs=4096 skip="$BLOCK" count=1 2>/dev/null | head -c 3 | tr -d '\0'
    ;;
esac
