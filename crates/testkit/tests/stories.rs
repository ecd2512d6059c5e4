//! The design, told as stories over a whole cluster in one process.

use expect_test::{Expect, expect};
use osds_testkit::story::tell;

async fn check(story: &str, seen: Expect) {
    seen.assert_eq(&tell(story).await);
}

#[tokio::test]
async fn one_volume_two_hosts() {
    check(
        "hosts A B C; create V 10 shared; settle; show V
         attach V A rw; attach V B ro; settle; show V; served V
         write V A; write V B; write V C
         detach V A; settle; show V; served V; write V A
         detach V B; settle; show V; served V
         delete V; settle; show V; pools",
        expect![[r#"
            V available
            V inUse
              A rw available
              B ro available
            V serves A rw, B ro
            write V A: written
            write V B: the host may only read
            write V C: the host is not let in
            V inUse
              B ro available
            V serves B ro
            write V A: the host is not let in
            V available
            V serves nobody
            V is gone
            single allocated 0 GiB
            shared allocated 0 GiB
        "#]],
    )
    .await;
}

#[tokio::test]
async fn who_may_not() {
    check(
        "hosts A B C; create V 1 single; create W 1 shared; settle
         attach V A rw; attach V B rw; attach V A ro; settle; show V; extend V 1; delete V
         attach W A rw exclusive; settle; attach W B ro
         detach W A; settle; attach W A rw; settle; attach W B rw exclusive
         create X 101 shared; create Y 101 single",
        expect![[r#"
            attach V B rw: volume is already attached to one of the host. If you want to attach to multiple host, volume multiattach must be true
            attach V A ro: volume is already attached to this host as rw, shared; detach it first to attach it in another way
            V inUse
              A rw available
            extend V 1: extend volume failed: new size for extend must be greater than current size.(current: 1 GB, extended: 1 GB).
            delete V: delete volume failed: only the volume with the status available, error, error_deleting, error_extending can be deleted, the volume status is inUse
            attach W B ro: host A (<id>) has the volume as exclusive; detach it there first, or ask for shared access on both
            attach W B rw exclusive: exclusive access cannot be promised: host A (<id>) has the volume as rw; detach it there first
            create X 101 shared: create volume failed: no available pool to meet user's requirement: single: 99 GiB free, wanted 101 GiB, multiAttach is false, wanted true; shared: 99 GiB free, wanted 101 GiB
            create Y 101 single: create volume failed: no available pool to meet user's requirement: single: 99 GiB free, wanted 101 GiB; shared: 99 GiB free, wanted 101 GiB
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_failed_second_attach_leaves_the_first() {
    check(
        "hosts A B; create V 1 shared; settle; attach V A rw; settle
         fail grant; attach V B rw; settle; show V; served V; write V A
         heal; show V; served V",
        expect![[r#"
            V inUse
              A rw available
              B rw error because temporary
            V serves A rw
            write V A: written
            V inUse
              A rw available
              B rw available
            V serves A rw, B rw
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_detach_that_does_not_finish() {
    check(
        "hosts A B; create V 1 single; settle; attach V A rw; settle
         fail revoke; detach V A; settle; show V; served V; attach V A rw; attach V B rw
         force V A; settle; show V; attach V B rw; settle; show V; served V
         heal; show V; served V; write V A",
        expect![[r#"
            V inUse
              A rw errorDeleting because temporary
            V serves A rw
            attach V A rw: the previous attachment of this host is still being removed; try again in a moment
            attach V B rw: volume is already attached to one of the host. If you want to attach to multiple host, volume multiattach must be true
            V available
            V available
              B rw error because temporary
            V serves A rw
            V inUse
              B rw available
            V serves B rw
            write V A: the host is not let in
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_fence_holds() {
    check(
        "hosts A B; create V 1 shared; create W 1 single; settle
         attach V A rw; attach V B rw; attach W A rw; settle
         fence A; settle; show V; show W; served V; attach V A ro; write V A; write V B
         restart; settle; attach V A rw
         unfence A; attach V A rw; settle; show V",
        expect![[r#"
            V inUse
              B rw available
            W available
            V serves B rw
            attach V A ro: host A (<id>) is fenced; unfence it before attaching volumes to it
            write V A: the host is not let in
            write V B: written
            attach V A rw: host A (<id>) is fenced; unfence it before attaching volumes to it
            V inUse
              A rw available
              B rw available
        "#]],
    )
    .await;
}

#[tokio::test]
async fn drift_heals() {
    check(
        "hosts A B C; create V 1 shared; settle; attach V A rw; attach V B ro; settle
         lose export V; served V; restart; settle; heal; served V
         intrude V C; served V; restart; heal; served V",
        expect![[r#"
            V serves nobody
            V serves A rw, B ro
            V serves A rw, B ro, C rw
            V serves A rw, B ro
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_lost_volume_is_not_replaced_by_an_empty_one() {
    check(
        "hosts A; create V 1 shared; settle; lose volume V; attach V A rw; settle; show V
         restart; settle; show V; served V
         detach V A; settle; show V; delete V; settle; show V; pools",
        expect![[r#"
            V error because gone
              A rw error because gone
            V error because gone
              A rw error because gone
            V serves nobody
            V error because gone
            V is gone
            single allocated 0 GiB
            shared allocated 0 GiB
        "#]],
    )
    .await;
}

#[tokio::test]
async fn volumes_come_and_grow_and_go_though_things_fail() {
    check(
        "hosts A; fail create; create V 1 shared; settle; show V; pools; heal; show V
         fail extend; extend V 5; settle; show V; pools; heal; show V
         fail delete; delete V; settle; show V; heal; show V; pools
         fail create; create W 1 shared; settle; delete W; settle; show W; pools",
        expect![[r#"
            V error because temporary
            single allocated 0 GiB
            shared allocated 1 GiB
            V available
            V errorExtending because noSpace
            single allocated 0 GiB
            shared allocated 5 GiB
            V available
            V errorDeleting because temporary
            V is gone
            single allocated 0 GiB
            shared allocated 0 GiB
            W is gone
            single allocated 0 GiB
            shared allocated 0 GiB
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_volume_grows_under_its_hosts() {
    check(
        "hosts A B; create V 1 shared; settle; attach V A rw; attach V B ro; settle
         extend V 3; settle; show V; served V; pools
         fail offer; extend V 4; settle; show V; served V; extend V 4; extend V 3; settle; show V
         heal; show V; served V; pools
         fail extend; extend V 90; settle; show V; pools; write V A
         extend V 2; extend V 4; heal; show V; pools
         restart; settle; show V; served V",
        expect![[r#"
            V inUse
              A rw available
              B ro available
            V serves A rw, B ro
            single allocated 0 GiB
            shared allocated 3 GiB
            V inUse because temporary
              A rw available
              B ro available
            V serves A rw, B ro
            V inUse because temporary
              A rw available
              B ro available
            V inUse
              A rw available
              B ro available
            V serves A rw, B ro
            single allocated 0 GiB
            shared allocated 4 GiB
            V inUse because noSpace
              A rw available
              B ro available
            single allocated 0 GiB
            shared allocated 90 GiB
            write V A: written
            extend V 2: extend volume failed: new size for extend must be greater than current size.(current: 4 GB, extended: 2 GB).
            V inUse
              A rw available
              B ro available
            single allocated 0 GiB
            shared allocated 4 GiB
            V inUse
              A rw available
              B ro available
            V serves A rw, B ro
        "#]],
    )
    .await;
}
