from faster_whisper.tokenizer import _LANGUAGE_CODES

from whisper_npu_cli.pipeline.languages import ALIASES, LANGUAGES, language_code


def test_the_codes_are_whispers():
    assert set(LANGUAGES) == set(_LANGUAGE_CODES)


def test_names_are_unambiguous():
    names = [*LANGUAGES.values(), *ALIASES, *LANGUAGES]
    assert len(set(names)) == len(names)
    assert set(ALIASES.values()) <= set(LANGUAGES)


def test_codes_and_names_in_any_case():
    for code, name in LANGUAGES.items():
        spellings = code, code.upper(), name, name.title(), f" {name.upper()} "
        assert {language_code(spelling) for spelling in spellings} == {code}
    assert language_code("Mandarin") == "zh"
    assert language_code("klingon") is None
    assert language_code("") is None
