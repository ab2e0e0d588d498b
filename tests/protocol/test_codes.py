"""A spoken code survives being read out, typed badly and checked; a slip of the tongue is noticed."""

import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.protocol.codes import (
    DIGITS,
    LETTERS,
    LINK_ALPHABET,
    LINK_LENGTH,
    CodeForm,
    check_character,
    form_of,
    group,
    is_link_code,
    is_well_formed,
    link_of,
    new_code,
    new_link_code,
    normalise,
    space_of,
)

ALPHANUMERIC = DIGITS + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FORMS = list(CodeForm)

numbers = st.integers(0, 10**14 - 1)
codes = numbers.map(lambda number: new_code(lambda _: number))


def test_the_check_digit_is_that_of_the_standards_worked_example() -> None:
    # ISO/IEC 7064, pure and hybrid systems: 0794 has check digit 5 in MOD 11,10.
    assert check_character("0794", DIGITS) == "5"
    # GRid, the music industry's identifier, has its check character in MOD 37,36: A1-2425G-ABC1234002-M.
    assert check_character("A12425GABC1234002", ALPHANUMERIC) == "M"


def test_small_numbers_keep_their_leading_zeros() -> None:
    code = new_code(lambda _: 7)
    assert code[:14] == "00000000000007"
    assert is_well_formed(code)


def test_the_random_source_is_asked_for_the_whole_space_once() -> None:
    asked = []

    def random_below(bound: int) -> int:
        asked.append(bound)
        return bound - 1

    assert new_code(random_below)[:14] == "9" * 14
    assert asked == [10**14]


def code_of(form: CodeForm, seed: int) -> str:
    return new_code(random.Random(seed).randrange, form)


any_code = st.builds(code_of, st.sampled_from(FORMS), st.integers(0))


@given(any_code)
def test_a_code_of_any_form_is_known_by_its_looks(code: str) -> None:
    form = form_of(code)
    assert is_well_formed(code)
    assert {CodeForm.DIGITS: 15, CodeForm.LETTERS: 11, CodeForm.SHORT: 8}[form or CodeForm.DIGITS] == len(
        code
    )
    assert set(code) <= set(LETTERS if form is CodeForm.LETTERS else DIGITS)
    assert normalise(" -".join(group(code)).lower()) == code


@pytest.mark.parametrize(
    ("form", "lengths"),
    [(CodeForm.DIGITS, [3, 3, 3, 3, 3]), (CodeForm.LETTERS, [4, 4, 3]), (CodeForm.SHORT, [4, 4])],
)
def test_each_form_has_its_groups(form: CodeForm, lengths: list[int]) -> None:
    assert [len(part) for part in group(code_of(form, 1))] == lengths


@given(st.integers(0), st.integers(0, 10), st.sampled_from(LETTERS))
def test_every_single_wrong_letter_is_noticed(seed: int, place: int, letter: str) -> None:
    code = code_of(CodeForm.LETTERS, seed)
    wrong = code[:place] + letter + code[place + 1 :]
    assert is_well_formed(wrong) == (letter == code[place])


def test_the_space_of_letters_is_counted_and_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("registry.protocol.codes._RANDOM_LETTERS", 3)
    space_of.cache_clear()
    found = space_of(CodeForm.LETTERS)
    monkeypatch.undo()
    space_of.cache_clear()
    every = ("".join(letters) for letters in product(LETTERS, repeat=3))
    assert found == sum(check_character(letters, ALPHANUMERIC) in LETTERS for letters in every)
    assert space_of(CodeForm.LETTERS) == pytest.approx(25**10 * 25 / 36, rel=1e-3)
    assert (space_of(CodeForm.DIGITS), space_of(CodeForm.SHORT)) == (10**14, 10**8)


def test_a_source_of_randomness_that_stands_still_is_a_fault() -> None:
    assert check_character("A" * 10, ALPHANUMERIC) not in LETTERS
    with pytest.raises(RuntimeError, match="repeats itself"):
        new_code(lambda _bound: 0, CodeForm.LETTERS)


@given(codes)
def test_every_new_code_is_well_formed_and_reads_in_five_groups_of_three(code: str) -> None:
    assert is_well_formed(code)
    assert [len(part) for part in group(code)] == [3, 3, 3, 3, 3]
    assert "".join(group(code)) == code


@given(codes, st.integers(0, 14), st.integers(1, 9))
def test_every_single_wrong_digit_is_noticed(code: str, place: int, change: int) -> None:
    wrong = str((int(code[place]) + change) % 10)
    assert not is_well_formed(code[:place] + wrong + code[place + 1 :])


@given(codes, st.lists(st.sampled_from([" ", "-", "\N{EN DASH}", "\N{NO-BREAK SPACE}", "\t", "\u3000"])))
def test_what_people_put_between_the_groups_does_not_matter(code: str, between: list[str]) -> None:
    typed = "".join(between).join(group(code)) + "".join(between)
    assert normalise(typed) == code


@pytest.mark.parametrize("zero", ["\uff10", "\u0660", "\u0966"], ids=["full-width", "arabic", "devanagari"])
@given(code=codes)
def test_digits_of_other_keyboards_are_the_same_digits(zero: str, code: str) -> None:
    typed = "".join(chr(ord(zero) + int(digit)) for digit in code)
    assert normalise(typed) == code


def test_letters_are_upper_cased() -> None:
    assert normalise("ab-c 1") == "ABC1"


@given(st.text())
def test_whatever_is_typed_is_normalised_without_a_fault(typed: str) -> None:
    assert is_well_formed(normalise(typed)) in (True, False)


@pytest.mark.parametrize(
    "text", ["", "1", "0" * 14, "0" * 16, "²" * 15, "²" * 8, "B" * 11, "x" * 15, "\uff10" * 15]
)
def test_what_is_no_code_is_not_taken_for_one(text: str) -> None:
    assert not is_well_formed(text)


@given(st.lists(st.integers(0, 31), min_size=LINK_LENGTH, max_size=LINK_LENGTH))
def test_a_code_for_links_is_letters_and_digits_however_it_comes_back(numbers: list[int]) -> None:
    source = iter(numbers)
    code = new_link_code(lambda _bound: next(source))
    assert code.isalnum()
    assert [LINK_ALPHABET.index(character) for character in code] == numbers
    assert is_link_code(normalise(f" {code.lower()} "))
    assert not is_well_formed(code)
    assert not is_link_code(code[:-1])
    assert link_of("https://keys.health.example", code) == f"https://keys.health.example/v?c={code}"


def test_the_random_source_is_asked_for_each_character_of_a_link() -> None:
    asked: list[int] = []

    def random_below(bound: int) -> int:
        asked.append(bound)
        return bound - 1

    assert new_link_code(random_below) == "7" * LINK_LENGTH
    assert asked == [32] * LINK_LENGTH
