//! Rotation as kubelet does it.
use crate::util::{Lab, Writer, gzip, rename};

#[test]
fn kubelets_steps_with_late_writes() {
    let mut lab = Lab::new();
    let dir = lab.web();
    let mut w = Writer::open(dir.join("0.log"));
    w.out("0");
    lab.run(async |lab| {
        lab.expect(&["0"]).await;
        let mut want = vec!["0".to_owned()];
        let mut previous: Option<String> = None;
        for round in 0..5 {
            if let Some(previous) = &previous {
                gzip(&dir, previous);
            }
            let rotated = format!("0.log.20261120-09000{round}");
            rename(&dir, "0.log", &rotated);
            w.out(&format!("late {round}"));
            let mut new = Writer::open(dir.join("0.log"));
            new.out(&format!("new {round}"));
            w.out(&format!("later {round}"));
            tokio::task::yield_now().await;
            w.out(&format!("last {round}"));
            drop(std::mem::replace(&mut w, new));
            for what in ["late", "later", "last", "new"] {
                want.push(format!("{what} {round}"));
            }
            previous = Some(rotated);
            let want: Vec<&str> = want.iter().map(String::as_str).collect();
            lab.expect(&want).await;
        }
    });
}
