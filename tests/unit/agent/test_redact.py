"""What looks like a credential leaves no report, and what is none stays as it is."""

from __future__ import annotations

import json

import pytest

from daemon.agent.redact import redacted

SECRET = "s3cr3tS3CR3Ts3cr3t"


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {SECRET}",
        f'{{"headers": {{"authorization": "Basic {SECRET}=="}}}}',
        f"token: {SECRET}",
        f"bearer_token={SECRET}&x=1",
        f'"client-key-data": "{SECRET}"',
        json.dumps({"message": json.dumps({"password": SECRET})}),
        f"api_server: https://admin:{SECRET}@10.0.0.1:6443",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----",
        json.dumps({"message": f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}\n"}),
        f"x eyJhbGciOiJSUzI1NiIs.{SECRET}.{SECRET} y",
        f"MY_DB_PASSWORD='{SECRET} {SECRET}'",
        f"remora --token {SECRET} agent",
        f"authorization: AWS4 {SECRET}",
        f"Cookie: a=b; session={SECRET}",
        f'{{"password": "with \\" a quote {SECRET}"}}',
        f"password: 'it''s {SECRET}'",
        f"users:\n- password: |-\n    first\n\n    {SECRET}\n  name: x\n",
        f"  token:\n      {SECRET}\n",
        f"privateKey: {SECRET}",
        f"ssl.passphrase={SECRET}",
        f"postgres://user:p@{SECRET}@10.0.0.1/shop",
        f"the server refused the token {SECRET}, asking anew",
        json.dumps({"message": f'password "{SECRET}" was wrong'}),
    ],
)
def test_a_credential_is_taken_out(text: str) -> None:
    assert SECRET not in redacted(text)
    assert "[removed]" in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "kubeconfig: /etc/remora/kubeconfig",
        "tls_key_file: /etc/remora/tls.key",
        "api_server: https://10.0.0.1:6443",
        "services: 3 backends: 4, tokens are never told",
        '{"key": {"addr": [0, 0, 4294901760, 335544330]}}',
        'remora_map_entries{map="services"} 12.0',
        "token file /var/run/secrets/kubernetes.io/serviceaccount/token is empty",
        "the credential plugin /usr/local/bin/aws-iam-authenticator-v0.6 ended with 1",
        "the token was refused; asked for again in 3 s",
        "password:\nname: x\n",
    ],
)
def test_what_is_no_credential_stays(text: str) -> None:
    assert redacted(text) == text


def test_what_stands_around_a_credential_stays() -> None:
    assert redacted(f"GET /?token={SECRET}&page=2 HTTP/1.1") == "GET /?token=[removed]&page=2 HTTP/1.1"
