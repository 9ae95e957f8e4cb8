//! A list is followed through everything that servers do.

use std::time::Duration;

use kube::{Client, Config};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::server::{Answer, Server};
use super::{reading, service};
use crate::input::cluster::follow::{Follower, News, Patience};
use crate::input::cluster::resource::resources;
use crate::input::declared::Kind;
use crate::model::ObjectName;

/// As short as a slow machine allows.
const QUICK: Patience = Patience {
    pause: Duration::from_millis(10),
    longest_pause: Duration::from_millis(50),
    steady: Duration::from_mins(1),
    answer: Duration::from_secs(10),
    list: Duration::from_millis(300),
    word: Duration::from_millis(300),
    watch: Duration::from_mins(1),
    absent: Duration::from_millis(50),
};

/// The Services of a server, followed.
struct Followed {
    server: Server,
    news: mpsc::Receiver<(Kind, News)>,
    task: JoinHandle<()>,
}

impl Followed {
    fn start(script: impl IntoIterator<Item = Answer>) -> Self {
        let server = Server::start(script);
        let url = format!("http://{}", server.address).parse().expect("a URL");
        let mut config = Config::new(url);
        config.default_retry = false;
        let client = Client::try_from(config).expect("a client");
        let [services, ..] = resources("node-a");
        let (sender, news) = mpsc::channel(16);
        let task = tokio::spawn(Follower::new(client, services, QUICK, sender).run());
        Self { server, news, task }
    }

    async fn heard(&mut self) -> News {
        let heard = timeout(Duration::from_secs(20), self.news.recv()).await;
        heard.expect("news in time").expect("news").1
    }

    /// The names and versions of a list.
    async fn listed(&mut self) -> Vec<(String, String)> {
        match self.heard().await {
            News::Listed(objects) => objects
                .into_iter()
                .map(|object| (object.name.name.to_string(), object.version))
                .collect(),
            other => panic!("no list but {other:?}"),
        }
    }

    async fn now(&mut self, expected: crate::input::cluster::read::Reading) {
        match self.heard().await {
            News::Now(object) => assert_eq!(object, expected),
            other => panic!("no object but {other:?}"),
        }
    }

    fn asked(&self, parts: &[&str]) {
        let request = self.server.request();
        for part in parts {
            let (part, is_wanted) = match part.strip_prefix('!') {
                Some(part) => (part, false),
                None => (*part, true),
            };
            assert_eq!(request.contains(part), is_wanted, "{part}: {request}");
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn event(kind: &str, object: &str) -> String {
    format!(r#"{{"type":"{kind}","object":{object}}}"#)
}

fn bookmark(version: u32) -> String {
    let object = format!(r#"{{"metadata":{{"resourceVersion":"{version}"}}}}"#);
    event("BOOKMARK", &object)
}

fn end_of_list(version: u32) -> String {
    let object = format!(
        r#"{{"metadata":{{"resourceVersion":"{version}","annotations":{{"k8s.io/initial-events-end":"true"}}}}}}"#
    );
    event("BOOKMARK", &object)
}

fn status(code: u16) -> String {
    format!(
        r#"{{"kind":"Status","status":"Failure","code":{code},"message":"because","reason":"So"}}"#
    )
}

fn too_large() -> String {
    r#"{"kind":"Status","status":"Failure","code":504,"message":"because","reason":"Timeout","details":{"causes":[{"reason":"ResourceVersionTooLarge","message":"Too large resource version"}]}}"#
        .to_owned()
}

#[test]
fn a_server_in_trouble_is_asked_ever_more_seldom() {
    let patience = Patience {
        pause: Duration::from_secs(1),
        longest_pause: Duration::from_secs(30),
        ..QUICK
    };
    for (short, seconds) in [(0, 1), (1, 2), (4, 16), (5, 30), (200, 30)] {
        let pauses: Vec<_> = (0..16).map(|_| patience.pause(short)).collect();
        let mean = Duration::from_secs(seconds);
        let range = mean / 2..=mean * 3 / 2;
        assert!(
            pauses.iter().all(|pause| range.contains(pause)),
            "{short}: {pauses:?}"
        );
        assert!(
            pauses.iter().any(|pause| *pause != pauses[0]),
            "all nodes at once: {pauses:?}"
        );
    }
}

fn names(names: &[(&str, &str)]) -> Vec<(String, String)> {
    let names = names.iter();
    names
        .map(|(name, version)| ((*name).into(), (*version).into()))
        .collect()
}

#[tokio::test]
async fn a_streamed_list_becomes_a_watch_and_goes_on_from_the_last_version() {
    let mut followed = Followed::start([
        Answer::Lines(vec![
            event("ADDED", &service("kubia", 3, 80)),
            end_of_list(5),
            event("MODIFIED", &service("kubia", 6, 81)),
            event("DELETED", &service("kubia", 7, 81)),
            bookmark(9),
        ]),
        Answer::Silence(vec![event("ADDED", &service("late", 10, 80))]),
    ]);
    assert_eq!(followed.listed().await, names(&[("kubia", "3")]));
    followed.now(reading("kubia", 6, 81)).await;
    let gone = followed.heard().await;
    assert!(
        matches!(&gone, News::Gone(name) if *name == ObjectName::new("default", "kubia")),
        "{gone:?}"
    );
    followed.now(reading("late", 10, 80)).await;
    followed.asked(&["watch=true", "sendInitialEvents=true", "!resourceVersion="]);
    followed.asked(&["watch=true", "!sendInitialEvents", "resourceVersion=9"]);
}

#[tokio::test]
async fn a_server_without_streamed_lists_is_asked_page_by_page() {
    let page = |version, next: &str, service: &str| {
        let text = format!(
            r#"{{"metadata":{{"resourceVersion":"{version}","continue":"{next}"}},"items":[{service}]}}"#
        );
        Answer::Whole(200, text)
    };
    let mut followed = Followed::start([
        Answer::Whole(422, status(422)),
        page(4, "more", &service("a", 1, 80)),
        page(4, "", &service("b", 2, 80)),
        Answer::Silence(vec![event("ADDED", &service("c", 5, 80))]),
    ]);
    assert_eq!(followed.listed().await, names(&[("a", "1"), ("b", "2")]));
    followed.now(reading("c", 5, 80)).await;
    followed.asked(&["sendInitialEvents=true"]);
    followed.asked(&["!watch", "limit=500", "resourceVersion=0"]);
    followed.asked(&["!watch", "continue=more", "!resourceVersion"]);
    followed.asked(&["watch=true", "resourceVersion=4", "!sendInitialEvents"]);
}

/// Kubernetes before 1.27 knows nothing of them and begins an ordinary watch.
#[tokio::test]
async fn a_server_that_never_ends_its_streamed_list_is_asked_for_pages() {
    let mut followed = Followed::start([
        Answer::Silence(vec![event("ADDED", &service("kubia", 3, 80))]),
        Answer::Whole(
            200,
            r#"{"metadata":{"resourceVersion":"4"},"items":[]}"#.into(),
        ),
        Answer::Silence(Vec::new()),
    ]);
    assert_eq!(followed.listed().await, []);
}

#[tokio::test]
async fn an_expired_watch_begins_with_a_list_again() {
    let mut followed = Followed::start([
        Answer::Lines(vec![end_of_list(5), event("ERROR", &status(410))]),
        Answer::Lines(vec![
            event("ADDED", &service("kubia", 8, 80)),
            end_of_list(9),
        ]),
        // Some servers say so at once.
        Answer::Whole(410, status(410)),
        Answer::Lines(vec![end_of_list(20)]),
        // After etcd was restored, versions begin earlier again.
        Answer::Whole(504, too_large()),
        Answer::Silence(vec![end_of_list(3)]),
    ]);
    assert_eq!(followed.listed().await, []);
    assert_eq!(followed.listed().await, names(&[("kubia", "8")]));
    assert_eq!(followed.listed().await, []);
    assert_eq!(followed.listed().await, []);
    for parts in [
        ["sendInitialEvents", "!resourceVersion="],
        ["sendInitialEvents", "!resourceVersion="],
        ["!sendInitialEvents", "resourceVersion=9"],
        ["sendInitialEvents", "!resourceVersion="],
        ["!sendInitialEvents", "resourceVersion=20"],
        ["sendInitialEvents", "!resourceVersion="],
    ] {
        followed.asked(&parts);
    }
}

#[tokio::test]
async fn trouble_is_told_and_its_end_too_and_nothing_begins_anew() {
    let mut followed = Followed::start([
        Answer::Lines(vec![end_of_list(5)]),
        Answer::Whole(500, status(500)),
        Answer::Whole(403, status(403)),
        Answer::Silence(vec![event("ADDED", &service("kubia", 6, 80))]),
    ]);
    assert_eq!(followed.listed().await, []);
    let failed = followed.heard().await;
    assert!(
        matches!(&failed, News::Trouble(trouble) if trouble.why == "because"),
        "{failed:?}"
    );
    let forbidden = followed.heard().await;
    assert!(
        matches!(&forbidden, News::Trouble(trouble) if trouble.is_forbidden && trouble.why.contains("rbac.yaml")),
        "{forbidden:?}"
    );
    let answers = followed.heard().await;
    assert!(matches!(answers, News::Answers), "{answers:?}");
    followed.now(reading("kubia", 6, 80)).await;
    followed.asked(&["sendInitialEvents"]);
    for _ in 0..3 {
        followed.asked(&["resourceVersion=5"]);
    }
}

#[tokio::test]
async fn a_watch_without_a_word_is_left_for_another_one() {
    let mut followed = Followed::start([
        Answer::Silence(vec![end_of_list(5)]),
        Answer::Silence(vec![event("ADDED", &service("kubia", 6, 80))]),
    ]);
    assert_eq!(followed.listed().await, []);
    followed.now(reading("kubia", 6, 80)).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_trouble() {
    let mut followed = Followed::start([]);
    let refused = followed.heard().await;
    assert!(
        matches!(&refused, News::Trouble(trouble) if trouble.why.to_lowercase().contains("refused")),
        "{refused:?}"
    );
}
