"""An OpenID provider that signs whatever a test wants said, over real HTTP on this machine."""

import json
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from werkzeug import Request, Response
from werkzeug.exceptions import NotFound
from werkzeug.serving import make_server

CLIENT_ID = "registry"


class LyingProvider:
    """Answers discovery, keys and tokens. `lie` changes the claims, `header` and `key` their signature."""

    def __init__(self) -> None:
        self.key: Any = ECKey.generate_key("P-256", {"kid": "k1", "use": "sig"})
        self.listed: list[Any] = [self.key]
        self.header: dict[str, Any] = {"alg": "ES256", "kid": "k1"}
        self.claims: dict[str, Any] = {}
        self.lie: Callable[[dict[str, Any]], object] = lambda claims: None
        self.metadata: dict[str, Any] = {}
        self.asked: list[str] = []
        self.server = make_server("127.0.0.1", 0, Request.application(self._answer), threaded=True)
        self.issuer = f"http://127.0.0.1:{self.server.port}"
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def sign_by_rsa(self) -> None:
        """As many providers do."""
        self.key = RSAKey.generate_key(2048, {"kid": "r1", "use": "sig"})
        self.listed, self.header = [self.key], {"alg": "RS256", "kid": "r1"}

    def authorise(self, address: str, now: float, **claims: Any) -> dict[str, str]:
        """What the browser brings back from there: the person signed in."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert asked["code_challenge_method"] == "S256"
        self.claims = {
            "iss": self.issuer,
            "aud": CLIENT_ID,
            "sub": "u-1",
            "name": "Chen Jie",
            "groups": ["nurses"],
            "nonce": asked["nonce"],
            "iat": int(now),
            "exp": int(now) + 300,
            **claims,
        }
        return {"code": "c", "state": asked["state"]}

    def close(self) -> None:
        """Stop listening."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    def _answer(self, request: Request) -> Response:
        self.asked.append(request.path)
        if request.path == "/.well-known/openid-configuration":
            return _json(
                {
                    "issuer": self.issuer,
                    "authorization_endpoint": f"{self.issuer}/authorize",
                    "token_endpoint": f"{self.issuer}/token",
                    "jwks_uri": f"{self.issuer}/keys",
                    **self.metadata,
                }
            )
        if request.path == "/keys":
            return _json({"keys": [key.as_dict(private=False) for key in self.listed]})
        if request.path == "/token":
            assert request.authorization is not None
            assert request.authorization.password == "secret of the client"
            assert len(request.form["code_verifier"]) == 43
            claims = dict(self.claims)
            self.lie(claims)
            signed = jwt.encode(self.header, claims, self.key, algorithms=["ES256", "RS256", "HS256", "none"])
            return _json({"access_token": "a", "token_type": "Bearer", "id_token": signed})
        raise NotFound


def _json(content: dict[str, Any]) -> Response:
    return Response(json.dumps(content), mimetype="application/json")
