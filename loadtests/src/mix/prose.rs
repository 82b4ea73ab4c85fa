//! English to draw from. The mistakes in the paragraphs are meant: a checker must find them.

/// Letters, notes and reports, most with one to three mistakes.
const PARAGRAPHS: [&str; 12] = [
    "The harbour was quiet when we arrived on Tuesday. Two boats was tied to the far pier, and \
     a gull walked along the wall as if it owned the place. Nobody had swept the steps since \
     the storm, so we climbed carefully and keeped one hand on the rail.",
    "Thank you for you're letter of the third. I have read it twice, and I agree that the old \
     pump should be replaced before winter. The price seems fair, but could you tell me weather \
     the fitting is included? We would like too begin in the first week of October.",
    "Our bakery opens at six, and by half past the first trays are usually gone. My sister \
     bakes the rye loaves; I does the rolls. On Saturdays we make an special cake with plums, \
     which sells out before anyone has has time to photograph it.",
    "The committee have met four times this year. It decided, with one vote against, that the \
     path between the library and the school should of been lit long ago. Work begins in May. \
     Until then, walkers is asked to carry a lamp after dark.",
    "A good map leaves things out. If it showed every stone, you could not find the river, and \
     if it showed nothing but rivers, you would not know which bank your standing on. The art \
     lies in guessing what the traveller will need to know next.",
    "I tried the recipe on Sunday and it were a success, mostly. The dough rose too quick \
     because the kitchen was warm, and the crust came out darker than in your picture. Next \
     time I will use less honey and a lower heat. The children ate all of it anyway.",
    "Please note that the lift will be out of service from Monday until Thursday. Engineers \
     will replace the the cable and test the doors. Residents who need help with the stairs \
     can ring the office, were somebody will be available between eight and six.",
    "In the experiment, thirty seedlings were kept in shade and thirty in full light. Neither \
     group received fertiliser. After five weeks the plants in shade was taller, but they're \
     stems were thin, and less than half of them could stand without support.",
    "We walked along the canal for an hour without meeting no one. Then a cyclist overtook us, \
     and then another, and soon it became clear that we had wandered onto the route of a race. \
     They was very polite about it. One of them even shouted the the time.",
    "The clock in the hall had been her grandfather's. It lost four minutes every week, and \
     every Sunday he had set it right with a small brass key. She could of had it repaired, but \
     she liked the habit: it was a appointment that nobody else could keep.",
    "Before you begin, check that all of the parts is present. Lay the long boards side by side \
     with the holes facing up. Do not tighten any screw until the frame stands square, otherwise \
     the drawers will stick. You will need two people for the last step, or a lot of patients.",
    "Rain fell for nine days and the field beside the mill became a lake. Ducks moved in at \
     once. On the tenth day the sun come out, and the farmer, who had lost his beans, sat on \
     the gate and admitted that it looked beautiful. He planted rice for a joke. It growed.",
];

const PEOPLE: [&str; 16] = [
    "Agnes", "Bruno", "Clara", "Dmitri", "Elena", "Farid", "Greta", "Hugo", "Imani", "Jonas",
    "Kiran", "Leonie", "Mateo", "Nadia", "Oskar", "Priya",
];

const DEEDS: [&str; 12] = [
    "keeps", "mended", "lost", "painted", "hid", "bought", "borrowed", "found", "wrapped",
    "carried", "left", "weighed",
];

const THINGS: [&str; 20] = [
    "copper kettle",
    "woollen blanket",
    "garden ladder",
    "silver thimble",
    "chess board",
    "bicycle lamp",
    "walnut cabinet",
    "tin whistle",
    "paper lantern",
    "leather satchel",
    "glass barometer",
    "wooden spoon",
    "velvet curtain",
    "iron key",
    "feather duster",
    "marble bust",
    "sewing machine",
    "rowing boat",
    "straw hat",
    "brass telescope",
];

const PLACES: [&str; 12] = [
    "behind the boathouse",
    "in the upper attic",
    "near the orchard wall",
    "under the stairs",
    "beside the old mill",
    "at the night market",
    "in the signal box",
    "on the ferry",
    "below the bell tower",
    "inside the greenhouse",
    "at the tram stop",
    "in the reading room",
];

/// `n` paragraphs, each followed by an empty line.
pub(super) fn paragraphs(n: usize, rng: &mut fastrand::Rng) -> String {
    (0..n).fold(String::new(), |mut text, _| {
        text.push_str(pick(&PARAGRAPHS, rng));
        text.push_str("\n\n");
        text
    })
}

/// A sentence worth remembering, one of some forty-six thousand.
pub(super) fn passage(rng: &mut fastrand::Rng) -> String {
    let who = pick(&PEOPLE, rng);
    let deed = pick(&DEEDS, rng);
    let thing = pick(&THINGS, rng);
    format!("{who} {deed} the {thing} {}.", pick(&PLACES, rng))
}

/// A question that some passage answers.
pub(super) fn question(rng: &mut fastrand::Rng) -> String {
    if rng.bool() {
        format!("where is the {}", pick(&THINGS, rng))
    } else {
        format!("what happened {}", pick(&PLACES, rng))
    }
}

/// `n` words, separated by blanks.
pub(super) fn words(n: usize, rng: &mut fastrand::Rng) -> String {
    let pool = || THINGS.iter().flat_map(|thing| thing.split(' '));
    let count = pool().count();
    let mut text = String::new();
    for i in 0..n {
        if i > 0 {
            text.push(' ');
        }
        text.push_str(pool().nth(rng.usize(0..count)).unwrap_or_default());
    }
    text
}

/// `n` lower-case letters.
pub(super) fn letters(n: usize, rng: &mut fastrand::Rng) -> String {
    (0..n).map(|_| rng.lowercase()).collect()
}

fn pick<'a>(from: &[&'a str], rng: &mut fastrand::Rng) -> &'a str {
    from[rng.usize(0..from.len())]
}
