//! How is one list of the API followed, through everything that can happen to a watch? First all of
//! it, as a stream where the server has streaming lists (KEP-3157), else in pages; then every change
//! from that version on, for ever.
//!
//! A watch ends every few minutes and goes on from the last version that was told, so it costs
//! nothing. Only a version that the server has forgotten makes a new list necessary.

use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::io::{AsyncBufRead, AsyncBufReadExt as _};
use kube::Client;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use super::ended::{Ended, Trouble};
use super::line::{Line, Page, Version, line, page};
use super::read::Reading;
use super::resource::Resource;
use crate::input::declared::Kind;
use crate::model::ObjectName;

/// Objects in a page of a list: as much as client-go asks for.
const PAGE: &str = "500";
/// etcd takes no object of more than 1.5 MiB; JSON makes it longer, but not so much.
const LONGEST_LINE: usize = 16 << 20;

/// What is heard of a list.
#[derive(Debug)]
pub(super) enum News {
    /// This is all there is.
    Listed(Vec<Reading>),
    /// An object is so now.
    Now(Reading),
    /// An object is gone.
    Gone(ObjectName),
    /// The list cannot be followed.
    Trouble(Trouble),
    /// It is followed again, from where it was.
    Answers,
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// After a first failure; doubled each time.
    pub(super) pause: Duration,
    /// The longest pause.
    pub(super) longest_pause: Duration,
    /// After this the next failure is a first one again.
    pub(super) steady: Duration,
    /// Until a request is answered.
    pub(super) answer: Duration,
    /// Without a word in a streamed list: then its server has none.
    pub(super) list: Duration,
    /// Without a word in a watch: then nobody is there. Servers send a bookmark every minute.
    pub(super) word: Duration,
    /// Of a watch, half of it at least; servers end it then.
    pub(super) watch: Duration,
    /// Until a list that is not there is asked for again.
    pub(super) absent: Duration,
}

impl Patience {
    /// No pause at all for what happens now and then.
    fn short_pause(&self, short: u32) -> Duration {
        match short.checked_sub(2) {
            None => Duration::ZERO,
            Some(short) => self.pause(short),
        }
    }

    /// Doubled each time, and never the same on two nodes: a server that comes back is asked by all
    /// of them.
    pub(super) fn pause(&self, short: u32) -> Duration {
        let pause = self.pause * (1 << short.min(16));
        pause.min(self.longest_pause).mul_f64(0.5 + chance())
    }
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(30),
            steady: Duration::from_secs(10),
            answer: Duration::from_mins(1),
            list: Duration::from_secs(10),
            word: Duration::from_secs(150),
            watch: Duration::from_mins(10),
            absent: Duration::from_mins(1),
        }
    }
}

/// Follows one list.
pub(super) struct Follower {
    client: Client,
    resource: Resource,
    patience: Patience,
    news: mpsc::Sender<(Kind, News)>,
    /// Where to go on; none = with a list.
    from: Option<Version>,
    /// Whether to try the next list as a stream.
    streams: bool,
    is_in_trouble: bool,
}

type Lines = Pin<Box<dyn AsyncBufRead + Send>>;

impl Follower {
    /// Nothing is known yet.
    pub(super) fn new(
        client: Client,
        resource: Resource,
        patience: Patience,
        news: mpsc::Sender<(Kind, News)>,
    ) -> Self {
        Self {
            client,
            resource,
            patience,
            news,
            from: None,
            streams: true,
            is_in_trouble: false,
        }
    }

    /// Follows until nobody hears it any more.
    pub(super) async fn run(mut self) {
        let kind = self.resource.kind.name();
        let mut short = 0;
        loop {
            let began = Instant::now();
            let ended = self.session().await;
            if began.elapsed() >= self.patience.steady {
                short = 0;
            }
            debug!(kind, ?ended, "watch ended");
            let pause = match ended {
                Err(Ended::Unheard) => return,
                Err(Ended::Trouble(trouble)) => {
                    let is_absent = trouble.is_absent;
                    self.is_in_trouble = true;
                    if self.tell(News::Trouble(trouble)).await.is_err() {
                        return;
                    }
                    if is_absent {
                        self.patience.absent
                    } else {
                        self.patience.pause(short)
                    }
                }
                Err(Ended::Expired) => {
                    info!(kind, "the watch expired: beginning with a list");
                    self.from = None;
                    self.patience.short_pause(short)
                }
                Err(Ended::NoStreams) => {
                    self.streams = false;
                    self.patience.short_pause(short)
                }
                Ok(()) => self.patience.short_pause(short),
            };
            short += 1;
            sleep(pause).await;
        }
    }

    /// From a list or a version to the end of the watch.
    async fn session(&mut self) -> Result<(), Ended> {
        let lines = match (&self.from, self.streams) {
            (Some(from), _) => self.open(&[("resourceVersion", from)]).await?,
            (None, true) => self.stream().await?,
            (None, false) => {
                let from = self.list().await?;
                // The next list may be streamed again: it failed once, perhaps.
                self.streams = true;
                self.from = Some(from.clone());
                self.open(&[("resourceVersion", &from)]).await?
            }
        };
        if std::mem::take(&mut self.is_in_trouble) {
            self.tell(News::Answers).await?;
        }
        self.watch(lines).await
    }

    /// Takes in a streamed list and returns the watch that goes on from there.
    async fn stream(&mut self) -> Result<Lines, Ended> {
        let parameters = [
            ("sendInitialEvents", "true"),
            ("resourceVersionMatch", "NotOlderThan"),
        ];
        let mut lines = self.open(&parameters).await?;
        let mut objects = Vec::new();
        let mut text = Vec::new();
        loop {
            let Ok(there) = timeout(self.patience.list, next(&mut lines, &mut text)).await else {
                return Err(Ended::NoStreams);
            };
            if !there.map_err(Ended::from)? {
                return Err(Ended::trouble("the list ended too early"));
            }
            match self.read(&text)? {
                Line::Now(object) => objects.push(object),
                Line::Bookmark {
                    version,
                    is_list_complete: true,
                } => {
                    self.tell(News::Listed(objects)).await?;
                    self.from = Some(version);
                    return Ok(lines);
                }
                Line::Bookmark { .. } | Line::Gone(..) => {}
                Line::Expired => return Err(Ended::Expired),
                Line::Failed(why) => return Err(Ended::trouble(why)),
            }
        }
    }

    /// Takes in a list page by page and returns its version.
    async fn list(&mut self) -> Result<Version, Ended> {
        let mut objects = Vec::new();
        let mut next = String::new();
        loop {
            // What the server has in its cache will do: the watch goes on from there.
            let from = [("resourceVersion", "0"), ("continue", &next)];
            let from = from[usize::from(!next.is_empty())];
            let request = self.request(&[("limit", PAGE), from]);
            let answer = timeout(self.patience.answer, self.client.request_text(request?)).await;
            let text = answer.map_err(|_| Ended::trouble("no answer"))??;
            let page = page(self.resource.kind, &text).map_err(Ended::trouble)?;
            objects.extend(page.objects);
            if page.next.is_empty() {
                self.tell(News::Listed(objects)).await?;
                return Ok(page.version);
            }
            Page { next, .. } = page;
        }
    }

    /// Tells all changes until the watch ends.
    async fn watch(&mut self, mut lines: Lines) -> Result<(), Ended> {
        let mut text = Vec::new();
        loop {
            match timeout(self.patience.word, next(&mut lines, &mut text)).await {
                Ok(Ok(true)) => {}
                // It goes on from the last version; what is wrong shows when that fails.
                Ok(Ok(false) | Err(_)) | Err(_) => return Ok(()),
            }
            let version = match self.read(&text)? {
                Line::Now(object) => {
                    let version = object.version.clone();
                    self.tell(News::Now(object)).await?;
                    version
                }
                Line::Gone(name, version) => {
                    self.tell(News::Gone(name)).await?;
                    version
                }
                Line::Bookmark { version, .. } => version,
                Line::Expired => return Err(Ended::Expired),
                Line::Failed(why) => return Err(Ended::trouble(why)),
            };
            self.from = Some(version);
        }
    }

    /// Opens a watch.
    async fn open(&self, parameters: &[(&str, &str)]) -> Result<Lines, Ended> {
        let seconds = self.patience.watch.mul_f64(0.5 + chance() / 2.0).as_secs();
        let seconds = seconds.to_string();
        let mut all = vec![
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", &seconds),
        ];
        all.extend_from_slice(parameters);
        let request = self.client.request_stream(self.request(&all)?);
        let answer = timeout(self.patience.answer, request).await;
        let lines = answer.map_err(|_| Ended::trouble("no answer"))?;
        let is_list = self.from.is_none() && self.streams;
        let lines = lines.map_err(|error| match error {
            kube::Error::Api(status) if is_list && matches!(status.code, 400 | 422) => {
                Ended::NoStreams
            }
            error => error.into(),
        })?;
        Ok(Box::pin(lines))
    }

    fn request(&self, parameters: &[(&str, &str)]) -> Result<http::Request<Vec<u8>>, Ended> {
        http::Request::get(self.resource.request(parameters))
            .body(Vec::new())
            .map_err(Ended::trouble)
    }

    fn read(&self, text: &[u8]) -> Result<Line, Ended> {
        let text = std::str::from_utf8(text).map_err(Ended::trouble)?;
        line(self.resource.kind, text).map_err(Ended::trouble)
    }

    async fn tell(&self, news: News) -> Result<(), Ended> {
        let told = self.news.send((self.resource.kind, news)).await;
        told.map_err(|_| Ended::Unheard)
    }
}

/// Reads the next line into `text`; false at the end. A line without its end is none.
async fn next(lines: &mut Lines, text: &mut Vec<u8>) -> io::Result<bool> {
    text.clear();
    loop {
        let part = lines.fill_buf().await?;
        let end = part.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(part.len(), |end| end + 1);
        text.extend_from_slice(&part[..taken]);
        let is_over = part.is_empty();
        lines.consume_unpin(taken);
        if end.is_some() || is_over {
            return Ok(!is_over);
        }
        if text.len() > LONGEST_LINE {
            return Err(io::Error::other("a line is longer than any object can be"));
        }
    }
}

/// Anything from 0 to 1.
pub(super) fn chance() -> f64 {
    let drawn = getrandom::u32().unwrap_or(u32::MAX / 2);
    f64::from(drawn) / f64::from(u32::MAX)
}
