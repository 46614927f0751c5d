//! The shipped weights are those the trainer makes, and a judged file tells all that it should.
use megarouter::quality::Prior;
use router::{
    data::{Data, Prices},
    judge::{Asked, judge},
    protocol::{TRAINING, own, trained},
};

#[test]
fn the_shipped_weights_are_the_trained_ones() {
    let (trained, shipped) = (trained(&TRAINING).expect("the data of this folder"), Prior::shipped());
    // Logarithms may differ in their last digit from one machine to another.
    let apart = trained.words.iter().zip(shipped.words.iter()).filter(|(a, b)| a.abs_diff(**b) > 1).count();
    assert_eq!(apart, 0, "make weights, and commit schema/quality.bin");
    let apart = trained.figures.iter().zip(shipped.figures).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart < 1e-3 && (trained.bias - shipped.bias).abs() < 1e-3);
}

fn pair(data: &Data, weak: &str, strong: &str, labels: usize) -> serde_json::Value {
    let asked = Asked {
        models: vec![weak.to_owned(), strong.to_owned()],
        strong: strong.to_owned(),
        labels,
        escalate: true,
        seed: 1,
        shuffled: true,
    };
    let prior = Prior::shipped();
    judge(&asked, data, &|_| &prior, &Prices::listed()).expect("a verdict")
}

#[test]
fn a_verdict_has_all_its_figures() {
    let data = own("zeroeval_crux").expect("data");
    let told = pair(&data, "gpt-4o-mini-2024-07-18", "o1-mini-2024-09-12", 100);
    for pointer in [
        "/apgr",
        "/ci/0",
        "/cpt50",
        "/cpt80",
        "/cost_at/95",
        "/cost_at/100",
        "/flip_rate",
        "/decision_us",
        "/held/95/calls",
        "/held/100/mix",
        "/held/98/ahead/0",
        "/baselines/random/apgr",
        "/baselines/length/router_above/0",
        "/baselines/length/apgr",
        "/baselines/keyword/apgr",
        "/baselines/knn/apgr",
        "/baselines/static_mix/cost_at/95",
        "/baselines/task_mean/apgr",
        "/baselines/oracle/apgr",
    ] {
        assert!(told.pointer(pointer).is_some_and(serde_json::Value::is_number), "{pointer}: {told:#}");
    }
}

/// The scores of the judged rows reach nothing but the figures: turned round, they leave every estimate as it was.
#[test]
fn what_is_judged_reveals_nothing() {
    let mut data = own("zeroeval_numersense").expect("data");
    let apgr = |data: &Data| {
        let told = pair(data, "Meta-Llama-3-8B-Instruct", "gpt-4o-2024-05-13", 0);
        (told["apgr"].as_f64().expect("a number"), told["baselines"]["prior_alone"]["apgr"].as_f64().expect("a number"))
    };
    let (router, prior) = apgr(&data);
    assert!((router - prior).abs() < 1e-9, "without labels the router is its prior");
    for row in &mut data.rows {
        row.scores.iter_mut().flatten().for_each(|score| *score = 1.0 - *score);
    }
    let (turned, _) = apgr(&data);
    assert!((turned - router).abs() < 1e-3, "gap and gains turn together: the order must be the same");
}
