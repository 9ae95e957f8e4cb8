//! `cargo xtask image`: the container image. A static `lb`, and nothing else in it; buildah needs no engine for that.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{build_ebpf, process, report::Outcome, static_build};

/// The product's name, as `lb_common::names` has it.
const NAME: &str = "lb";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// What the image is made from.
const CONTAINERFILE: &str = "deploy/Containerfile";
/// What goes into images, and the store of those that are only looked at; below the checkout.
const DIR: &str = "target/image";
/// What buildah says of an image: for whom it is, what it starts, its layers.
const FACTS: &str = "{{.OCIv1.Architecture}} {{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.Cmd}} \
                     {{len .OCIv1.RootFS.DiffIDs}}";

/// Build the container image with buildah
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The architecture of the nodes that it is for; default: this machine's
    #[arg(long, value_parser = static_build::ARCHITECTURES)]
    arch: Option<String>,
    /// The image's name, with a registry if it shall be pushed; default: lb:VERSION
    #[arg(long)]
    tag: Option<String>,
    /// The directory where buildah shall keep it; default: where it keeps its images
    #[arg(long, value_name = "DIR")]
    storage: Option<PathBuf>,
    /// Only see whether the images of all architectures would be sound, as `cargo xtask test` does
    #[arg(long, conflicts_with_all = ["arch", "tag", "storage"])]
    check: bool,
}

/// One image to build.
struct Image<'r> {
    root: &'r Path,
    arch: String,
    tag: String,
    /// As users run it, or quickly built.
    is_release: bool,
    storage: Option<PathBuf>,
}

pub(crate) fn run(root: &Path, arguments: &Arguments) -> Result<()> {
    if arguments.check {
        let outcome = check(root)?;
        ensure!(outcome.failed == 0, "{} images are not", outcome.failed);
        return Ok(());
    }
    let arch = arguments.arch.as_deref().unwrap_or(std::env::consts::ARCH);
    let default_tag = || format!("{NAME}:{VERSION}");
    let image = Image {
        root,
        arch: arch.to_owned(),
        tag: arguments.tag.clone().unwrap_or_else(default_tag),
        is_release: true,
        storage: arguments.storage.clone(),
    };
    image.build()?;
    println!("{}", image.tag);
    Ok(())
}

/// Builds the image for every architecture, quickly and into a store of its own, and looks into each.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let storage = root.join(DIR).join("store");
    let mut outcome = Outcome::default();
    for arch in static_build::ARCHITECTURES {
        let image = Image {
            root,
            arch: arch.to_owned(),
            tag: format!("{NAME}:check-{arch}"),
            is_release: false,
            storage: Some(storage.clone()),
        };
        let looked = image.build().and_then(|()| image.inspect());
        if let Err(error) = &looked {
            eprintln!("image for {arch}: {error:#}");
        }
        outcome.passed += u64::from(looked.is_ok());
        outcome.failed += u64::from(looked.is_err());
    }
    remove(&storage)?;
    Ok(outcome)
}

impl Image<'_> {
    fn build(&self) -> Result<()> {
        ensure!(
            process::find("buildah").is_some(),
            "buildah is missing: `cargo xtask setup` installs it"
        );
        let ebpf = build_ebpf::Arguments {
            arch: Some(self.arch.clone()),
            ..build_ebpf::Arguments::default()
        };
        build_ebpf::run(self.root, &ebpf)?;
        let binary = self.build_binary()?;
        let context = self.root.join(DIR).join(&self.arch);
        fs::create_dir_all(&context)
            .with_context(|| format!("cannot make {}", context.display()))?;
        fs::copy(&binary, context.join(NAME))
            .with_context(|| format!("cannot copy {}", binary.display()))?;
        let mut command = self.buildah("build");
        command.args(["--arch", self.oci_arch(), "--tag", &self.tag]);
        command.args(["--build-arg", &format!("VERSION={VERSION}")]);
        command.arg("--file").arg(self.root.join(CONTAINERFILE));
        process::run(command.arg(context))
    }

    fn build_binary(&self) -> Result<PathBuf> {
        let mut command = static_build::cargo(self.root, "build", &self.arch)?;
        command.args(["--bin", NAME]);
        if self.is_release {
            command.arg("--release");
        } else {
            // Nobody debugs it, and it would be five times as large.
            command.args(["--config", "profile.dev.debug=false"]);
        }
        process::run(&mut command)?;
        let profile = if self.is_release { "release" } else { "debug" };
        Ok(static_build::binary(self.root, &self.arch, profile))
    }

    /// Looks at what was built: what it starts, for whom it is, what is in it, and that it needs nothing else.
    fn inspect(&self) -> Result<()> {
        let mut command = self.buildah("inspect");
        let facts =
            process::output(command.args(["--type", "image", "--format", FACTS, &self.tag]))?;
        let expected = format!("{} [/{NAME}] [run] 1", self.oci_arch());
        ensure!(
            facts.trim() == expected,
            "the image is {facts}, not {expected}"
        );
        let container = process::output(self.buildah("from").args(["--pull-never", &self.tag]))?;
        let container = container.trim();
        let place = process::output(self.buildah("mount").arg(container))?;
        let looked = self.look(Path::new(place.trim()));
        process::output(self.buildah("umount").arg(container))?;
        looked
    }

    /// What is in the mounted image, and whether it runs there.
    fn look(&self, place: &Path) -> Result<()> {
        let files = fs::read_dir(place)?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<Vec<_>>>()?;
        ensure!(
            files == [NAME],
            "there is other than /{NAME} in it: {files:?}"
        );
        let segments = process::output(
            Command::new("readelf")
                .args(["--wide", "--program-headers"])
                .arg(place.join(NAME)),
        )?;
        ensure!(
            !segments.contains("INTERP"),
            "/{NAME} asks for a dynamic linker:\n{segments}"
        );
        if self.arch != std::env::consts::ARCH {
            return Ok(());
        }
        let path = format!("/{NAME}");
        let said = process::output(Command::new("chroot").arg(place).args([&path, "version"]))?;
        ensure!(
            said.contains(VERSION) && said.contains(" bytes"),
            "`{path} version` says {said}"
        );
        Ok(())
    }

    fn buildah(&self, action: &str) -> Command {
        let mut command = process::host("buildah", self.root);
        if let Some(storage) = &self.storage {
            // A directory for each layer: works on every file system.
            command.args(["--storage-driver", "vfs", "--root"]);
            command.arg(storage);
            command.arg("--runroot").arg(storage.join("run"));
        }
        command.arg(action);
        command
    }

    /// The architecture as images name it.
    fn oci_arch(&self) -> &'static str {
        if self.arch == "aarch64" {
            "arm64"
        } else {
            "amd64"
        }
    }
}

/// As root buildah leaves nothing mounted there.
fn remove(storage: &Path) -> Result<()> {
    if !storage.exists() {
        return Ok(());
    }
    fs::remove_dir_all(storage).with_context(|| format!("cannot remove {}", storage.display()))
}
