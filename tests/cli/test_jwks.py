"""Public keys in files: what is wrong with them is told before Envoy gets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from modelbroker.cli.jwks import all_with_keys, complaints
from modelbroker.cli.main import main
from modelbroker.core.errors import Misconfigured
from modelbroker.core.identity import Issuer, Jwks
from support.tokens import SigningKey

RSA, EC, ED = (SigningKey(alg, alg).public for alg in ("RS256", "ES256", "EdDSA"))


def text(*keys: Any) -> str:
    return json.dumps({"keys": list(keys)})


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (text(RSA), ""),
        (text(RSA, EC, ED), ""),
        (text({"kty": "AKP", "alg": "ML-DSA-44", "pub": "x"}, EC), ""),
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        ("[]", "it has no list of `keys`"),
        ('{"keys": {}}', "it has no list of `keys`"),
        ('{"keys": [1]}', "it has no list of `keys`"),
        (text(), "it holds no key that can verify"),
        (text({"kty": "AKP"}), "it holds no key that can verify"),
        (text({"kty": "oct", "k": "c2VjcmV0"}), "keys[0]: is a shared secret (kty oct)"),
        (text(EC, {**RSA, "d": "c2VjcmV0"}), "keys[1]: holds the private key (d)"),
        (text({**RSA, "n": ""}), "keys[0]: n is not there in base64url"),
        (text({**RSA, "e": 65537}), "keys[0]: e is not there in base64url"),
        (text({**EC, "x": "+/=="}), "keys[0]: x is not there in base64url"),
        (text({**EC, "crv": "secp256k1"}), "keys[0]: crv is 'secp256k1'; give P-256 or P-384 or P-521"),
    ],
)
def test_what_is_wrong(content: str, wrong: str) -> None:
    found = list(complaints(content))
    assert (found[0] if found else "").startswith(wrong)
    assert bool(found) == bool(wrong)
    assert "c2VjcmV0" not in str(found)


def test_a_broken_file_is_no_reason_to_give_up_keys_that_were_there(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    issuer = Issuer("corp", "i", (), Jwks(file=str(path)))
    assert all_with_keys([issuer], None) == (
        (issuer,),
        (f"the keys of the issuer corp: {path} can't be read (No such file or directory)",),
    )
    with pytest.raises(Misconfigured, match="can't be read"):
        all_with_keys([issuer], [])
    path.write_text(text(RSA))
    (good,), problems = all_with_keys([issuer], None)
    assert (json.loads(good.jwks.keys), problems) == ({"keys": [RSA]}, ())
    path.write_text("{")
    with pytest.raises(Misconfigured, match="is not JSON"):
        all_with_keys([issuer], [good])
    # One that a start did without goes on without.
    assert all_with_keys([issuer], [issuer])[1] != ()
    path.write_bytes(b"\xff\xfe")
    assert "is not UTF-8 text" in all_with_keys([issuer], None)[1][0]


def test_an_issuer_with_a_url_needs_no_file(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text("x")
    issuer = Issuer("corp", "i", (), Jwks(url="https://i/keys", ca_file=str(ca_file)))
    ((found,), problems) = all_with_keys([issuer], [])
    assert (found.jwks.keys, len(found.jwks.ca_digest), problems) == ("", 64, ())


def test_check_says_where_the_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text(
        "pools: [{name: p, members: [{provider: vllm, model: m}]}]\nissuers:\n"
        "- {name: other, issuer: https://other, audiences: [us], jwks: https://other/keys}\n"
        "- name: corp\n  issuer: https://corp\n  audiences: [us]\n  jwks: nofile.json\n"
    )
    assert main(["check", str(tmp_path / "a.yaml")]) == 1
    told = capsys.readouterr().err
    assert (
        "a.yaml:7: issuers[1].jwks: the keys of the issuer corp: nofile.json can't be read (No such" in told
    )
