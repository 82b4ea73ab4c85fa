use super::*;

fn piece(bytes: usize) -> Bytes {
    Bytes::from(vec![1; bytes])
}

#[test]
fn pieces_make_a_message() {
    let mut partials = Partials::new(100, 50);
    assert_eq!(partials.begin(1, "head", &piece(10)), Ok(()));
    assert_eq!(partials.add(1, &piece(20), true), Ok(None));
    assert_eq!(
        partials.add(1, &piece(20), false),
        Ok(Some(("head", piece(50))))
    );
    assert_eq!((partials.len(), partials.bytes), (0, 0));
}

#[test]
fn a_message_and_all_of_them_together_are_bounded() {
    let mut partials = Partials::new(100, 60);
    assert_eq!(partials.begin(1, (), &piece(60)), Ok(()));
    assert_eq!(partials.add(1, &piece(1), true), Err(TooMuch));
    assert_eq!(partials.add(1, &piece(1), true), Ok(None), "forgotten");
    assert_eq!(partials.begin(2, (), &piece(60)), Ok(()));
    assert_eq!(partials.begin(3, (), &piece(40)), Ok(()));
    assert_eq!(partials.begin(4, (), &piece(1)), Err(TooMuch));
    assert!(partials.contains(3) && !partials.contains(4));
    partials.forget(2);
    partials.forget(2);
    assert_eq!(partials.bytes, 40);
}
