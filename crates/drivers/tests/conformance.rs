//! One suite for every driver: what the traits promise, tried out.
//!
//! The suites are functions over the traits and over what a test must be able to do beside them
//! (start again on the same backend, do I/O as a host). A new driver adds a bench and one line
//! here. A target may only claim what it keeps: the suite asks it what it can enforce and then
//! tries to break just that. At the end, drivers that lie must fail.

/// What the hosts of the target suite speak.
const PROTOCOL: osds_model::host::Protocol = osds_model::host::Protocol::Iscsi;

#[path = "conformance/storage.rs"]
mod storage;
#[path = "conformance/target.rs"]
mod target;

#[path = "conformance/benches.rs"]
mod benches;

macro_rules! suite {
    ($name:ident, $bench:expr, $suite:ident: $($case:ident),+ $(,)?) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    crate::$suite::$case(&$bench).await;
                }
            )+
        }
    };
}

macro_rules! storage_suite {
    ($name:ident, $bench:expr) => {
        suite!(
            $name, $bench, storage:
            a_new_volume_is_zeros_of_the_size_asked_for,
            the_second_create_is_boring,
            a_shorter_leftover_is_finished,
            extend_grows_and_never_shrinks,
            delete_is_for_good,
            a_new_volume_shows_nothing_of_an_old_one,
            what_is_missing_is_gone_and_what_cannot_be_asked_is_an_error,
            everything_is_there_after_a_restart,
            what_is_not_ours_is_listed_and_left_alone,
            calls_at_once_end_in_one_volume,
            pools_are_reported_by_name,
            a_snapshot_is_of_its_moment,
            a_copy_is_a_volume_of_its_own,
            a_copy_counts_only_while_writes_were_held,
        );
    };
}

/// On logical volumes, where a device is given up to them: one case after the other, on one group.
macro_rules! lvm_suite {
    ($name:ident, $thin:literal) => {
        mod $name {
            lvm_suite!($thin:
                a_new_volume_is_zeros_of_the_size_asked_for,
                the_second_create_is_boring,
                a_shorter_leftover_is_finished,
                extend_grows_and_never_shrinks,
                delete_is_for_good,
                a_new_volume_shows_nothing_of_an_old_one,
                what_is_missing_is_gone_and_what_cannot_be_asked_is_an_error,
                everything_is_there_after_a_restart,
                what_is_not_ours_is_listed_and_left_alone,
                calls_at_once_end_in_one_volume,
                pools_are_reported_by_name,
                a_snapshot_is_of_its_moment,
                a_copy_is_a_volume_of_its_own,
                a_copy_needs_no_hold,
            );
        }
    };
    ($thin:literal: $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let _alone = crate::benches::LVM.lock().await;
                if let Some(bench) = crate::benches::LvmBench::new($thin) {
                    crate::storage::$case(&bench).await;
                }
            }
        )+
    };
}

macro_rules! target_suite {
    ($name:ident, $bench:expr) => {
        suite!(
            $name, $bench, target:
            a_granted_host_reaches_the_blocks_and_nobody_else,
            export_is_boring_and_keeps_grants,
            a_write_through_a_read_only_grant_fails,
            the_second_grant_is_boring_and_another_mode_is_refused,
            nothing_is_granted_without_an_export,
            a_host_without_the_protocol_is_refused,
            a_revoked_host_is_out_and_the_others_are_not,
            no_write_lands_after_revoke,
            unexport_puts_everybody_out,
            a_resized_volume_is_larger_for_hosts,
            exports_are_read_back,
            a_grant_with_credentials_lets_in_who_proves_them,
            other_credentials_are_another_grant,
            what_hosts_do_is_counted_by_host,
            limits_are_read_back_and_disturb_nobody,
        );
    };
}

storage_suite!(fake_storage, crate::benches::FakeStorageBench::new());
storage_suite!(file_storage, crate::benches::FileStorageBench::new());
lvm_suite!(lvm_thick, false);
lvm_suite!(lvm_thin, true);
target_suite!(fake_target, crate::benches::FakeTargetBench::new());
target_suite!(fake_target_without_read_only, crate::benches::FakeTargetBench::plain());

/// A suite that nothing can fail proves nothing.
mod lies {
    use crate::benches::{Lie, LyingTargetBench};
    use crate::target;

    async fn is_caught<F: Future<Output = ()> + Send + 'static>(case: F) {
        assert!(tokio::spawn(case).await.is_err(), "the suite did not catch this lie");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_target_that_ignores_read_only() {
        let bench = LyingTargetBench::new(Lie::WritesForAll);
        is_caught(async move { target::a_write_through_a_read_only_grant_fails(&bench).await })
            .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_target_that_believes_names() {
        for number in 0..2 {
            let bench = LyingTargetBench::new(Lie::BelievesNames);
            is_caught(async move {
                match number {
                    0 => target::a_grant_with_credentials_lets_in_who_proves_them(&bench).await,
                    _ => target::other_credentials_are_another_grant(&bench).await,
                }
            })
            .await;
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_target_that_does_not_revoke() {
        for number in 0..3 {
            let bench = LyingTargetBench::new(Lie::NeverRevokes);
            is_caught(async move {
                match number {
                    0 => target::a_revoked_host_is_out_and_the_others_are_not(&bench).await,
                    1 => target::no_write_lands_after_revoke(&bench).await,
                    _ => target::exports_are_read_back(&bench).await,
                }
            })
            .await;
        }
    }
}
