//! How the command line names a place. A new kind of place adds its options
//! here, so that it touches this folder alone.

use std::path::PathBuf;

use clap::Args;

use crate::model::Platform;

/// Where to look.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Where")]
pub struct Request {
    /// Only this app; see `shopmend profile list` (may be repeated)
    #[arg(long = "app", value_name = "ID")]
    pub apps: Vec<String>,
    /// The platform of the files in --image
    #[arg(long, value_name = "PLATFORM", requires = "image")]
    pub platform: Option<Platform>,
    /// A mounted disk, a copied tree or an extracted backup instead of this machine
    #[arg(long, value_name = "DIR", conflicts_with = "serial")]
    pub image: Option<PathBuf>,
    #[command(flatten)]
    pub device: OnDevice,
    /// A folder of profiles that add to or replace the built-in ones
    #[arg(long, value_name = "DIR")]
    pub profiles: Option<PathBuf>,
}

/// An Android device instead of this machine.
#[derive(Debug, Clone, Default, Args)]
pub struct OnDevice {
    /// An attached Android device, by adb's or the hardware's serial number; the only one
    /// (or ANDROID_SERIAL) if left out
    #[arg(long = "device", value_name = "SERIAL", num_args = 0..=1, default_missing_value = "")]
    pub serial: Option<String>,
    /// Use root on the device, where it has it
    #[arg(long, requires = "serial")]
    pub root: bool,
}
