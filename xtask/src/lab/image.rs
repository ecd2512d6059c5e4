//! The guests' image: a kernel, an initrd and a read-only root, out of Debian packages alone.
//!
//! apt resolves the packages against an empty list of installed ones, so that the image is the same
//! on every machine; they are unpacked, never installed, so no root is needed and no script runs.
//! An image is named after the hash of its recipe (this file, the guest's scripts, the names and
//! versions of all packages) and made once.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::Places;

/// What the guests have; dependencies come by themselves.
const PACKAGES: &str = "bash coreutils util-linux mount kmod iproute2 iputils-ping procps grep sed \
    mawk findutils diffutils lvm2 dmsetup thin-provisioning-tools open-iscsi nvme-cli sg3-utils \
    ocfs2-tools gfs2-utils dlm-controld corosync e2fsprogs xfsprogs multipath-tools udev \
    busybox-static";

/// Packages that dependencies name and no guest uses: interpreters, and what sets up a real Debian.
const LEFT_OUT: &[&str] = &[
    "perl",
    "libperl",
    "python3",
    "libpython",
    "debconf",
    "linux-image",
    "xsltproc",
    "libxslt",
    "libicu",
    "libxml2",
    "tzdata",
    "login_",
    "passwd_",
    "adduser",
    "apt_",
    "gpgv",
    "libapt",
    "initramfs",
    "linux-base",
    "klibc",
    "libklibc",
    "dpkg_",
    "media-types",
    "ca-certificates",
    "openssl_",
];

/// Parts of packages that no guest reads.
const NO_FILES: &[&str] = &[
    "./usr/share/doc",
    "./usr/share/man",
    "./usr/share/locale",
    "./usr/share/info",
    "./usr/share/i18n",
    "./usr/share/lintian",
    "./usr/share/bash-completion",
    "./usr/lib/systemd/system",
    "./usr/lib/x86_64-linux-gnu/gconv",
];

/// Modules that guests load; what they need comes by itself.
const MODULES: &str = "virtio_pci virtio_blk virtio_net virtio_console virtio_rng erofs overlay \
    9pnet_virtio 9p sd_mod sg loop ext4 xfs btrfs ocfs2 ocfs2_dlmfs ocfs2_stack_o2cb \
    ocfs2_stack_user gfs2 dlm dm-mod dm-thin-pool dm-snapshot dm-mirror dm-multipath \
    dm-round-robin dm-service-time dm-queue-length dm-flakey dm-delay dm-zero scsi_dh_alua \
    target_core_mod target_core_iblock target_core_file target_core_user iscsi_target_mod \
    tcm_loop iscsi_tcp libiscsi scsi_transport_iscsi nvmet nvmet-tcp nvme-tcp nvme-fabrics \
    nvme-core scsi_debug crc32c_generic crc32c-intel libcrc32c af_packet sha256 hmac md5 uio";

/// Modules that reach the root disk.
const FIRST_MODULES: &str = "virtio_pci virtio_blk erofs overlay";

/// Kernel parts of the kernel package that modules are taken from.
const KERNEL_PARTS: &[&str] =
    &["./boot/vmlinuz-*", "./lib/modules/*/modules.*", "./lib/modules/*/kernel/*"];

/// A finished image.
pub struct Image {
    /// The kernel, uncompressed if it can be, which QEMU starts by its PVH entry: three seconds less
    /// emulation.
    pub kernel: PathBuf,
    /// Reaches the root disk.
    pub initrd: PathBuf,
    /// The root disk (EROFS).
    pub root: PathBuf,
}

/// The image of today's recipe, made now if need be; with the kernel of this package, or Debian's.
pub fn ensure(places: &Places, kernel: Option<&Path>) -> Result<Image> {
    super::need_programs()?;
    let apt = Apt::new(places)?;
    let (debians, names) = apt.closure()?;
    let guest = places.root.join("lab/guest");
    let mut hash = Sha256::new();
    hash.update(include_str!("image.rs"));
    for script in SCRIPTS {
        hash.update(fs::read(guest.join(script)).with_context(|| format!("lab/guest/{script}"))?);
    }
    match kernel {
        None => hash.update(&debians),
        Some(file) => hash.update(fs::read(file).with_context(|| file.display().to_string())?),
    }
    names.iter().for_each(|name| hash.update(name));
    let name: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let folder = places.images.join(&name);
    let image = Image {
        kernel: folder.join("vmlinux"),
        initrd: folder.join("initrd.img"),
        root: folder.join("root.img"),
    };
    if image.root.is_file() {
        println!("lab: image {name} is there");
        return Ok(image);
    }
    let began = Instant::now();
    let say =
        |what: &str| println!("lab: image {name}: {:5.1} s {what}", began.elapsed().as_secs_f32());
    say(&format!("downloading what is missing of {} packages", names.len()));
    apt.download(kernel.is_none().then_some(&*debians))?;
    let kernel = match kernel {
        Some(file) => file.to_owned(),
        None => apt.kernel_file(&debians)?.context("the kernel was not downloaded")?,
    };
    let work = tempfile_in(&places.images)?;
    build(&apt, (&kernel, &names), &guest, &work, &say)?;
    fs::remove_dir_all(&folder).ok();
    for leftover in ["tree", "kernel", "ird"] {
        fs::remove_dir_all(work.join(leftover)).ok();
    }
    fs::rename(&work, &folder).context("could not name the image")?;
    say("done");
    Ok(image)
}

const SCRIPTS: [&str; 3] = ["init", "agent", "initrd-init"];

/// A folder of our own for the making, so that two makers do not meet.
fn tempfile_in(images: &Path) -> Result<PathBuf> {
    let work = images.join(format!("making-{}", std::process::id()));
    fs::remove_dir_all(&work).ok();
    fs::create_dir_all(&work).with_context(|| format!("could not make {}", work.display()))?;
    Ok(work)
}

/// apt, told to forget the machine it runs on.
struct Apt {
    debs: PathBuf,
    options: Vec<String>,
}

impl Apt {
    fn new(places: &Places) -> Result<Self> {
        let (state, debs) = (places.images.join("apt"), places.images.join("debs"));
        for folder in [
            &state,
            &debs.join("partial"),
            &debs.join("none/partial"),
            &state.join("lists/partial"),
        ] {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let status = state.join("status");
        if !status.is_file() {
            File::create(&status).context("could not make an empty list of packages")?;
        }
        let mut options: Vec<String> = [
            ("Dir::State::status", status.display().to_string()),
            ("Dir::Cache::archives", debs.display().to_string()),
            ("Dir::Cache::pkgcache", String::new()),
            ("Dir::Cache::srcpkgcache", String::new()),
            ("Debug::NoLocking", "1".into()),
            ("APT::Sandbox::User", "root".into()),
            ("APT::Install-Recommends", "0".into()),
            ("APT::Get::Assume-Yes", "1".into()),
            ("Acquire::Retries", "2".into()),
            ("Acquire::http::Timeout", "30".into()),
        ]
        .map(|(key, value)| format!("-o{key}={value}"))
        .into();
        // A bare machine has no lists, and not everybody may fetch some for all.
        let known = Command::new("apt-cache").args(["show", "linux-image-amd64"]).output();
        if !known.is_ok_and(|shown| shown.status.success() && !shown.stdout.is_empty()) {
            let lists = state.join("lists");
            options.push(format!("-oDir::State::lists={}", lists.display()));
            if fs::read_dir(&lists).is_ok_and(|entries| entries.count() < 3) {
                println!("lab: fetching the lists of packages");
                run(Command::new("apt-get").args(&options).args(["-qq", "update"]))?;
            }
        }
        Ok(Self { debs, options })
    }

    /// The kernel's package, and the file names of everything, in order.
    fn closure(&self) -> Result<(String, Vec<String>)> {
        let mut depends = Command::new("apt-cache");
        let depends = depends.args(&self.options).args(["depends", "linux-image-amd64"]);
        let depends = text(depends)?;
        let kernel =
            depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image"));
        let kernel =
            kernel.context("apt knows no kernel: is there a Debian mirror in sources.list?")?;
        let kernel = format!("linux-image{kernel}");
        let mut words = vec!["-qq", "--print-uris", "install"];
        words.extend(PACKAGES.split_whitespace());
        // What is downloaded already would not be printed: look from an empty folder.
        let nothing = format!("-oDir::Cache::archives={}", self.debs.join("none").display());
        // The lines are: 'address' file size hash.
        let uris = text(Command::new("apt-get").args(&self.options).arg(nothing).args(words))?;
        let mut names: Vec<String> = uris
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1))
            .map(str::to_owned)
            .collect();
        names.sort_unstable();
        ensure!(names.len() > 20, "apt resolved only {} packages", names.len());
        Ok((kernel, names))
    }

    /// The kernel's file, if it is there.
    fn kernel_file(&self, kernel: &str) -> Result<Option<PathBuf>> {
        let entries = fs::read_dir(&self.debs).context("could not list the packages")?;
        let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let begin = format!("{kernel}_");
        Ok(paths.find(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&begin))
        }))
    }

    fn download(&self, kernel: Option<&str>) -> Result<()> {
        let install = ["-qq", "--download-only", "install"];
        run(Command::new("apt-get")
            .args(&self.options)
            .args(install)
            .args(PACKAGES.split_whitespace()))?;
        if let Some(kernel) = kernel
            && self.kernel_file(kernel)?.is_none()
        {
            // Alone: its dependencies would make an initramfs.
            let mut download = Command::new("apt-get");
            download.current_dir(&self.debs).args(&self.options).args(["-qq", "download", kernel]);
            run(&mut download)?;
        }
        Ok(())
    }
}

fn build(
    apt: &Apt,
    (kernel, names): (&Path, &[String]),
    guest: &Path,
    work: &Path,
    say: &dyn Fn(&str),
) -> Result<()> {
    let (root, tree, ird) = (work.join("tree"), work.join("kernel"), work.join("ird"));
    for folder in ["bin", "sbin", "lib", "lib64"] {
        fs::create_dir_all(root.join("usr").join(folder))?;
        std::os::unix::fs::symlink(format!("usr/{folder}"), root.join(folder))?;
    }
    fs::create_dir_all(&tree)?;
    unpack(kernel, &tree, &[&["--wildcards"], KERNEL_PARTS].concat())?;
    let skip: Vec<_> = NO_FILES.iter().map(|path| format!("--exclude={path}")).collect();
    let skip: Vec<_> = skip.iter().map(String::as_str).collect();
    let wanted = |name: &&String| !LEFT_OUT.iter().any(|left_out| name.starts_with(left_out));
    for name in names.iter().filter(wanted) {
        unpack(&apt.debs.join(name), &root, &skip)?;
    }
    say("packages unpacked");
    let version = only_entry(&tree.join("lib/modules"))?;
    run(tool("depmod").arg("-b").arg(&tree).arg(&version))?;
    let modules = root.join("usr/lib/modules").join(&version);
    fs::create_dir_all(&modules)?;
    let from = tree.join("lib/modules").join(&version);
    for module in closure_of(&tree, &version, MODULES)? {
        let below = module.strip_prefix(&from).with_context(|| module.display().to_string())?;
        let to = modules.join(below);
        let folder = to.parent().context("a module lies in a folder")?;
        fs::create_dir_all(folder)?;
        copy_module(&module, folder)?;
    }
    for list in ["modules.order", "modules.builtin", "modules.builtin.modinfo"] {
        fs::copy(from.join(list), modules.join(list)).with_context(|| list.to_owned())?;
    }
    run(tool("depmod").arg("-b").arg(&root).arg(&version))?;
    dress(&root, guest)?;
    say("root dressed");
    let image = work.join("root.img");
    run(Command::new(path_of("mkfs.erofs"))
        .args(["--quiet", "--all-root", "-T0"])
        .arg(&image)
        .arg(&root))?;
    initrd(&root, &tree, &version, guest, &ird, &work.join("initrd.img"))?;
    uncompressed(&tree.join(format!("boot/vmlinuz-{version}")), &work.join("vmlinux"))?;
    say("root disk, initrd and kernel made");
    Ok(())
}

/// What a Debian installation would have written by scripts.
fn dress(root: &Path, guest: &Path) -> Result<()> {
    for folder in [
        "proc",
        "sys",
        "dev",
        "run",
        "tmp",
        "mnt",
        "host",
        "root",
        "pool",
        "etc/iscsi",
        "var/lib/iscsi",
        // LIO answers PERSISTENT RESERVE OUT with NOT READY where this is missing.
        "var/target/pr",
    ] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy(guest.join("init"), root.join("init"))?;
    fs::copy(guest.join("agent"), root.join("usr/sbin/lab-agent"))?;
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/bash\n")?;
    let groups = [
        "root:x:0:",
        "tty:x:5:",
        "disk:x:6:",
        "kmem:x:15:",
        "dialout:x:20:",
        "cdrom:x:24:",
        "tape:x:26:",
        "audio:x:29:",
        "video:x:44:",
        "lp:x:7:",
        "input:x:101:",
        "sgx:x:102:",
        "kvm:x:103:",
        "render:x:104:",
    ];
    fs::write(root.join("etc/group"), groups.join("\n") + "\n")?;
    let hosts: String = super::cluster::GUESTS
        .iter()
        .map(|guest| format!("{} {}\n", guest.address, guest.name))
        .collect();
    fs::write(root.join("etc/hosts"), format!("127.0.0.1 localhost\n{hosts}"))?;
    // mkfs.ocfs2 insists on it.
    std::os::unix::fs::symlink("/proc/self/mounts", root.join("etc/mtab"))?;
    for (name, is) in [("awk", "mawk"), ("sh", "bash")] {
        if fs::symlink_metadata(root.join("usr/bin").join(name)).is_err() {
            std::os::unix::fs::symlink(is, root.join("usr/bin").join(name))?;
        }
    }
    run(tool("ldconfig").arg("-r").arg(root))
}

fn initrd(
    root: &Path,
    tree: &Path,
    version: &str,
    guest: &Path,
    ird: &Path,
    image: &Path,
) -> Result<()> {
    for folder in ["bin", "proc", "sys", "dev", "lower", "upper", "root", "modules"] {
        fs::create_dir_all(ird.join(folder))?;
    }
    fs::copy(root.join("usr/bin/busybox"), ird.join("bin/busybox")).context("busybox-static")?;
    fs::copy(guest.join("initrd-init"), ird.join("init"))?;
    let mut order = String::new();
    for module in closure_of(tree, version, FIRST_MODULES)? {
        order += &copy_module(&module, &ird.join("modules"))?;
        order.push('\n');
    }
    fs::write(ird.join("mods"), order)?;
    let mut find = Command::new("find").arg(".").current_dir(ird).stdout(Stdio::piped()).spawn()?;
    let names = find.stdout.take().context("find has no output")?;
    let mut cpio = Command::new("cpio");
    cpio.current_dir(ird).args(["--create", "--format=newc", "--owner=0:0", "--quiet"]);
    run(cpio.stdin(names).stdout(File::create(image)?))?;
    ensure!(find.wait()?.success(), "find failed");
    Ok(())
}

/// Files of these modules and of all they need, in the order to load them.
fn closure_of(tree: &Path, version: &str, wanted: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for module in wanted.split_whitespace() {
        let mut show = tool("modprobe");
        show.arg("-d").arg(tree).args([
            "-S",
            version,
            "--show-depends",
            "--ignore-install",
            module,
        ]);
        // Built in, or not in this kernel: a scene that needs it says so itself.
        let Ok(lines) = text(show.stderr(Stdio::null())) else { continue };
        for file in lines.lines().filter_map(|line| line.strip_prefix("insmod ")) {
            let file = PathBuf::from(file.trim());
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }
    ensure!(!files.is_empty(), "modprobe found none of {wanted}");
    Ok(files)
}

/// Copies a module to a folder, unpacked if need be: busybox loads no other. Its name there.
fn copy_module(module: &Path, folder: &Path) -> Result<String> {
    let name = module.file_name().and_then(|name| name.to_str()).context("a module's name")?;
    let Some(plain) = name.strip_suffix(".xz") else {
        fs::copy(module, folder.join(name))?;
        return Ok(name.to_owned());
    };
    let to = File::create(folder.join(plain))?;
    run(Command::new("xz").args(["--decompress", "--stdout"]).arg(module).stdout(to))?;
    Ok(plain.to_owned())
}

/// The ELF kernel inside a bzImage, an xz stream behind some boot code; as it is when it is packed
/// otherwise, and then it unpacks itself at every boot.
fn uncompressed(packed: &Path, plain: &Path) -> Result<()> {
    const XZ: &[u8] = b"\xfd7zXZ\0";
    let mut bytes = Vec::new();
    File::open(packed)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .with_context(|| packed.display().to_string())?;
    let start = bytes.windows(XZ.len()).position(|window| window == XZ);
    let Some(start) = start else {
        fs::write(plain, bytes).with_context(|| plain.display().to_string())?;
        return Ok(());
    };
    let mut xz = Command::new("xz")
        .args(["--decompress", "--stdout", "--quiet", "--single-stream"])
        .stdin(Stdio::piped())
        .stdout(File::create(plain)?)
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdin = xz.stdin.take().context("xz has no input")?;
    // It stops reading where the stream ends, and complains of what follows.
    std::io::Write::write_all(&mut stdin, &bytes[start..]).ok();
    drop(stdin);
    xz.wait()?;
    let mut magic = [0; 4];
    File::open(plain)?.read_exact(&mut magic)?;
    ensure!(&magic == b"\x7fELF", "{} holds no ELF kernel", packed.display());
    Ok(())
}

fn unpack(deb: &Path, to: &Path, more: &[&str]) -> Result<()> {
    let mut tar =
        Command::new("dpkg-deb").arg("--fsys-tarfile").arg(deb).stdout(Stdio::piped()).spawn()?;
    let stream = tar.stdout.take().context("dpkg-deb has no output")?;
    let mut unpack = Command::new("tar");
    unpack
        .args(["--extract", "--keep-directory-symlink", "--no-same-owner", "--directory"])
        .arg(to)
        .args(more);
    run(unpack.stdin(stream)).with_context(|| deb.display().to_string())?;
    ensure!(tar.wait()?.success(), "dpkg-deb could not read {}", deb.display());
    Ok(())
}

fn only_entry(folder: &Path) -> Result<String> {
    let mut entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let entry = entries.next().context("there is no kernel in its package")??;
    entry.file_name().into_string().ok().context("a kernel's version is a text")
}

/// One of root's programs, found though it is not on the path of everybody.
fn tool(program: &str) -> Command {
    let mut command = Command::new(path_of(program));
    command.env("LC_ALL", "C");
    command
}

fn path_of(program: &str) -> PathBuf {
    let sbin = ["/usr/sbin", "/sbin"].map(|folder| Path::new(folder).join(program));
    sbin.into_iter().find(|path| path.is_file()).unwrap_or_else(|| program.into())
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("could not run {command:?}"))?;
    ensure!(status.success(), "{status}: {command:?}");
    Ok(())
}

fn text(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("could not run {command:?}"))?;
    if !output.status.success() {
        bail!("{}: {command:?}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} does not speak UTF-8"))
}
