from __future__ import annotations

import pytest
from wechatpy.crypto import WeChatCrypto

from chatgpt2.adapter import ConfigError
from chatgpt2.bots.tencent.envelope import Envelope, Forged, is_signed, read_xml, signature, write_xml

TOKEN, KEY, APP_ID = "spamtest", "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG", "wx2c2769f8efd9abc2"
TIMESTAMP, NONCE, SALT = "1409735669", "1320562132", b"0123456789abcdef"
# Tencent's own example
SEALED = (
    "hyzAe4OzmOMbd6TvGdIOO6uBmdJoD0Fk53REIHvxYtJlE2B655HuD0m8KUePWB3+LrPXo87wzQ1QLvbeUgmBM4x6F8PGHQHFVAFmOD2LdJF9"
    "FrXpbUAh0B5GIItb52sn896wVsMSHGuPE328HnRGBcrS7C41IzDWyWNlZkyyXwon8T332jisa+h6tEDYsVticbSnyU8dKOIbgU6ux5VTjg3y"
    "t+WGzjlpKn6NPhRjpA912xMezR4kw6KWwMrCVKSVCZciVGCgavjIQ6X8tCOp3yZbGpy0VxpAe+77TszTfRd5RJSVO/HTnifJpXgCSUdUue1v"
    "6h0EIBYYI1BD1DlD+C0CR8e6OewpusjZ4uBl9FyJvnhvQl+q5rv1ixrcpCumEPo5MJSgM9ehVsNPfUM669WuMyVWQLCzpu9GhglF2PE="
)
SIGNED = "5d197aaffba7e9b25a30732f161a50dee96bd5fa"


@pytest.fixture
def envelope() -> Envelope:
    return Envelope(TOKEN, KEY, APP_ID)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ((TOKEN, TIMESTAMP, NONCE), "16120ec1b8dbb870f510d87ce6bc2463eae6ca1a"),
        (("789", "456", "123"), "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
    ],
)
def test_signatures_are_those_of_the_platform(parts: tuple[str, ...], expected: str) -> None:
    assert signature(*parts) == expected
    assert is_signed(expected, *parts)
    assert not is_signed("", *parts) and not is_signed("签名", *parts)


def test_tencents_example_is_opened(envelope: Envelope) -> None:
    fields = read_xml(envelope.open(SEALED, SIGNED, TIMESTAMP, NONCE))
    assert (fields["Content"], fields["MsgId"]) == ("abcdteT", "6054768590064713728")


@pytest.mark.parametrize(
    ("receiver", "text", "expected"),
    [
        (
            APP_ID,
            "<xml><a>你好</a></xml>",
            "Q3stYC6hdFzMh9T8HCvyDIKq7uk53ab8v3RYQXAqfkftAGL0TiX44ox3oUkpcgaydiZU1WSi1s9MPsUTnqNS0g==",
        ),
        (
            APP_ID,
            "A" * 26,
            "Q3stYC6hdFzMh9T8HCvyDMDF2RXr9TH5YKOAWiIrtSyJ04if3w9v3zabc0iSkCjcEnjY96ZpZ/MIN6BKJyf8cwLFzVIDwcxMVwVb4bYWmkcVQ"
            "JsUXpZAUCSx/2ku3D9Y",
        ),
        (
            APP_ID,
            "A" * 9,
            "Q3stYC6hdFzMh9T8HCvyDHtMaTtsydDrA3YrTqA2lzLqyfBfagMsQVS88karSa+dknUDMUDiI7o8MYTNNCB2gQ==",
        ),
        (
            "",
            '{"msgtype":"text"}',
            "Q3stYC6hdFzMh9T8HCvyDD712uX8onmHUva9KNYQqhHhJQeojMWP+B2d9+v8WlysuzAHHrvUZ9vvpslnY8rN/A==",
        ),
    ],
)
def test_what_is_sealed_is_what_the_platform_would_make_of_it(
    receiver: str, text: str, expected: str
) -> None:
    envelope = Envelope(TOKEN, KEY, receiver)
    sealed, signed = envelope.seal(text, TIMESTAMP, NONCE, salt=SALT)
    assert sealed == expected
    assert envelope.open(sealed, signed, TIMESTAMP, NONCE) == text


def test_the_signature_of_a_sealed_message_covers_it(envelope: Envelope) -> None:
    _, signed = envelope.seal("<xml><a>你好</a></xml>", TIMESTAMP, NONCE, salt=SALT)
    assert signed == "c2df3857dcaebf17bc8712d06e10e16ebcdd5596"


WECOM = Envelope(
    "hJqcu3uJ9Tn2gXPmxx2w9kkCkCE2EPYo", "6qkdMrq68nTKduznJYO1A37W2oEgpkMUvkttRToqhUt", "ww1436e0e65a779aee"
)


def test_wecoms_examples_are_opened() -> None:
    echo = "fsi1xnbH4yQh0+PJxcOdhhK6TDXkjMyhEPA7xB2TGz6b+g7xyAbEkRxN/3cNXW9qdqjnoVzEtpbhnFyq6SVHyA=="
    opened = WECOM.open(echo, "012bc692d0a58dd4b10f8dfe5c4ac00ae211ebeb", "1476416373", "47744683")
    assert opened == "1288432023552776189"
    message = (
        "Kl7kjoSf6DMD1zh7rtrHjFaDapSCkaOnwu3bqLc5tAybhhMl9pFeK8NslNPVdMwmBQTNoW4mY7AIjeLvEl3NyeTkAgGzBhzTtRLNshw2AEew"
        "+kkYcD+Fq72Kt00fT0WnN87hGrW8SqGc+NcT3mu87Ha3dz1pSDi6GaUA6A0sqfde0VJPQbZ9U+3JWcoD4Z5jaU0y9GSh010wsHF8KZD24Yhm"
        "ZH4ch4Ka7ilEbjbfvhKkNL65HHL0J6EYJIZUC2pFrdkJ7MhmEbU2qARR4iQHE7wy24qy0cRX3Mfp6iELcDNfSsPGjUQVDGxQDCWjayJOpcwo"
        "cugux082f49HKYg84EpHSGXAyh+/oxwaWbvL6aSDPOYuPDGOCI8jmnKiypE+"
    )
    opened = WECOM.open(message, "0c3914025cb4b4d68103f6bfc8db550f79dcf48e", "1476422779", "1597212914")
    fields = read_xml(opened)
    assert (fields["Content"], fields["FromUserName"], fields["MsgId"]) == (
        "你好",
        "ChenJiaShun",
        "1456453720",
    )


def test_wechatpy_opens_what_is_sealed_here(envelope: Envelope) -> None:
    sealed, signed = envelope.seal("你好", TIMESTAMP, NONCE)
    theirs = WeChatCrypto(TOKEN, KEY, APP_ID)
    assert theirs.decrypt_message({"Encrypt": sealed}, signed, TIMESTAMP, NONCE) == "你好"


def test_a_wrong_signature_is_refused(envelope: Envelope) -> None:
    with pytest.raises(Forged, match="signature"):
        envelope.open(SEALED, "0" * 40, TIMESTAMP, NONCE)


def test_a_message_for_another_account_is_refused(envelope: Envelope) -> None:
    sealed, signed = Envelope(TOKEN, KEY, "wx0000000000000000").seal("你好", TIMESTAMP, NONCE)
    with pytest.raises(Forged, match="another account"):
        envelope.open(sealed, signed, TIMESTAMP, NONCE)


@pytest.mark.parametrize("sealed", ["", "A", "不是", "QUJD", "Q3stYC6hdFzMh9T8HCvyDA==", SEALED[:-24]])
def test_what_cannot_be_decrypted_is_refused(envelope: Envelope, sealed: str) -> None:
    with pytest.raises(Forged):
        envelope.open(sealed, signature(TOKEN, TIMESTAMP, NONCE, sealed), TIMESTAMP, NONCE)


@pytest.mark.parametrize("key", ["", "short", "*" * 43, "你" * 43, KEY + "="])
def test_a_key_that_is_none_is_told(key: str) -> None:
    with pytest.raises(ConfigError, match="aes_key must be the 43 letters"):
        Envelope(TOKEN, key, APP_ID)


@pytest.mark.parametrize(
    "text",
    [
        '<!DOCTYPE xml [<!ENTITY a "b">]><xml><Content>&a;</Content></xml>',
        '<!DOCTYPE xml SYSTEM "http://127.0.0.1/x"><xml/>',
        "<xml>&a;</xml>",
        "<xml>",
        "",
        '<?xml version="1.0" encoding="nonsense"?><xml/>',
    ],
)
def test_a_dtd_entities_and_what_is_not_xml_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an XML message"):
        read_xml(text.encode())


@pytest.mark.parametrize("text", ["你好", "a]]>b", "<b>&amp;", "😀\n", "]]"])
def test_what_is_written_is_what_is_read(text: str) -> None:
    assert read_xml(write_xml({"Content": text, "CreateTime": 7})) == {"Content": text, "CreateTime": "7"}


def test_characters_that_xml_has_no_place_for_are_left_out() -> None:
    assert read_xml(write_xml({"Content": "a\x00\x08b￾"})) == {"Content": "ab"}
