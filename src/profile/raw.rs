//! A profile file as it is written: the TOML, before it is checked.
//!
//! Every table refuses fields that it does not know.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::listing::ListFormat;
use super::model::{Confidence, May};
use crate::model::{Class, Platform, StoreKind};

type Text = Spanned<String>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct File {
    #[serde(default)]
    pub layout: Vec<Spanned<Layout>>,
    #[serde(default)]
    pub app: Vec<Spanned<App>>,
    #[serde(default)]
    pub never: Vec<Spanned<Never>>,
    #[serde(default)]
    pub origins: Vec<Spanned<Origins>>,
}

/// Rules that several apps use.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Layout {
    pub id: Text,
    /// What stands as `<name>` in its patterns.
    #[serde(default)]
    pub parameters: Vec<Text>,
    #[serde(default)]
    pub rule: Vec<Spanned<Rule>>,
    #[serde(default)]
    pub listed_by: Vec<Spanned<ListedBy>>,
}

/// Where an app says which folders it uses.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct ListedBy {
    pub parameter: Option<Text>,
    pub root: Text,
    #[serde(default)]
    pub files: Vec<Text>,
    pub format: Option<ListFormat>,
    pub key: Option<Text>,
    #[serde(default)]
    pub options: Vec<Text>,
    pub holds: Vec<Text>,
    pub source: Text,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct App {
    pub id: Text,
    pub name: Text,
    pub platform: Platform,
    /// No rule of the app is surer than this.
    pub confidence: Option<Confidence>,
    #[serde(default)]
    pub processes: Vec<Text>,
    #[serde(default)]
    pub running_markers: Vec<Text>,
    pub install: Vec<Spanned<Install>>,
    #[serde(default)]
    pub r#use: Vec<Spanned<Use>>,
    #[serde(default)]
    pub rule: Vec<Spanned<Rule>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Install {
    pub id: Text,
    pub roots: BTreeMap<String, Text>,
    /// Further places of these roots.
    #[serde(default)]
    pub also: BTreeMap<String, Vec<Text>>,
    #[serde(default)]
    pub program: Vec<Text>,
    pub identify: Option<Identify>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Identify {
    pub file: Text,
    pub key: Text,
    pub values: Vec<Text>,
}

/// A layout taken into an app.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Use {
    pub layout: Text,
    /// What each parameter of the layout stands for; several values repeat the
    /// pattern.
    #[serde(default)]
    pub with: BTreeMap<String, Vec<Text>>,
    /// Put before the rules' ids, where two layouts have one of the same id.
    pub prefix: Option<Text>,
    /// No rule of the layout is surer than this here.
    pub confidence: Option<Confidence>,
    /// Rules of the layout that do not apply here.
    #[serde(default)]
    pub without: Vec<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Rule {
    pub id: Text,
    pub name: Text,
    pub kind: Option<StoreKind>,
    pub class: Class,
    pub roots: Vec<Text>,
    pub paths: Vec<Text>,
    #[serde(default)]
    pub except: Vec<Text>,
    #[serde(default)]
    pub may: Vec<May>,
    pub budget: Option<Text>,
    pub max_age_days: Option<Spanned<u32>>,
    pub reason: Text,
    pub source: Text,
    pub confidence: Confidence,
    pub matches: Vec<Text>,
    pub not_matches: Vec<Text>,
    /// Only on these platforms; everywhere when absent.
    pub on: Option<Vec<Platform>>,
}

/// What is never cleared, whatever a rule says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Never {
    pub paths: Vec<Text>,
    pub reason: Text,
    pub source: Text,
}

/// Hosts that belong to the shop.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Origins {
    pub hosts: Vec<Text>,
    pub reason: Text,
    pub source: Text,
}
