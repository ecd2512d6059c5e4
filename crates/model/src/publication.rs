//! How an orchestrator means to use a volume, in the words of CSI: an access mode says how many
//! nodes and which of them write, an access type says what will lie on the blocks.
//!
//! Both are kept with the attachment, because whoever asks next is judged by them: one more writer
//! is harmless beside raw blocks and ruin beside an ordinary file system.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How many nodes may have the volume, and which of them write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AccessMode {
    /// One node, which writes.
    SingleNodeWriter,
    /// One node, which reads.
    SingleNodeReaderOnly,
    /// Many nodes, which read.
    MultiNodeReaderOnly,
    /// Many nodes, one of which writes.
    MultiNodeSingleWriter,
    /// Many nodes, which write.
    MultiNodeMultiWriter,
    /// One node, and there one place, which writes.
    SingleNodeSingleWriter,
    /// One node, and there many places, which write.
    SingleNodeMultiWriter,
}

impl AccessMode {
    /// Every mode there is.
    pub const ALL: [Self; 7] = [
        Self::SingleNodeWriter,
        Self::SingleNodeReaderOnly,
        Self::MultiNodeReaderOnly,
        Self::MultiNodeSingleWriter,
        Self::MultiNodeMultiWriter,
        Self::SingleNodeSingleWriter,
        Self::SingleNodeMultiWriter,
    ];

    /// CSI's word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SingleNodeWriter => "SINGLE_NODE_WRITER",
            Self::SingleNodeReaderOnly => "SINGLE_NODE_READER_ONLY",
            Self::MultiNodeReaderOnly => "MULTI_NODE_READER_ONLY",
            Self::MultiNodeSingleWriter => "MULTI_NODE_SINGLE_WRITER",
            Self::MultiNodeMultiWriter => "MULTI_NODE_MULTI_WRITER",
            Self::SingleNodeSingleWriter => "SINGLE_NODE_SINGLE_WRITER",
            Self::SingleNodeMultiWriter => "SINGLE_NODE_MULTI_WRITER",
        }
    }

    /// Whether it is for more than one node.
    #[must_use]
    pub const fn is_multi_node(self) -> bool {
        match self {
            Self::MultiNodeReaderOnly
            | Self::MultiNodeSingleWriter
            | Self::MultiNodeMultiWriter => true,
            Self::SingleNodeWriter
            | Self::SingleNodeReaderOnly
            | Self::SingleNodeSingleWriter
            | Self::SingleNodeMultiWriter => false,
        }
    }

    /// Whether no node ever writes.
    #[must_use]
    pub const fn only_reads(self) -> bool {
        match self {
            Self::SingleNodeReaderOnly | Self::MultiNodeReaderOnly => true,
            Self::SingleNodeWriter
            | Self::MultiNodeSingleWriter
            | Self::MultiNodeMultiWriter
            | Self::SingleNodeSingleWriter
            | Self::SingleNodeMultiWriter => false,
        }
    }

    /// Whether it is one of the three ways in which one node writes. They differ in what the node
    /// does with the volume, and not for its target: an orchestrator that learns the finer two
    /// asks again under them for what it has.
    #[must_use]
    pub const fn is_single_writer(self) -> bool {
        !self.is_multi_node() && !self.only_reads()
    }
}

impl fmt::Display for AccessMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not one of CSI's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an access mode of CSI")]
pub struct UnknownAccessMode;

impl FromStr for AccessMode {
    type Err = UnknownAccessMode;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text).ok_or(UnknownAccessMode)
    }
}

/// What will lie on the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AccessType {
    /// Whatever the application writes; it knows who else does.
    Block,
    /// A file system that takes itself to be alone (ext4, xfs, btrfs).
    LocalFs,
    /// A file system of many nodes (gfs2, ocfs2).
    ClusterFs,
}

impl AccessType {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::LocalFs => "localFs",
            Self::ClusterFs => "clusterFs",
        }
    }
}

/// How a volume is used by one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Publication {
    /// How many nodes, and which of them write.
    pub mode: AccessMode,
    /// What will lie on the blocks.
    pub access: AccessType,
}
