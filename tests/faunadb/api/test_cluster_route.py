"""`GET /cluster/1`: how a client that has one member finds the others."""

import json

import httpx

from front_test_helpers import Running

AUTH = {"authorization": "Bearer secret"}


def test_a_client_with_a_secret_learns_the_members(server: Running) -> None:
    """The answer names every member with its endpoint and role."""
    answer = httpx.get(f"{server.url}/cluster/1", headers=AUTH)

    assert 200 == answer.status_code
    assert {
        "cluster_id": "ab" * 16,
        "voters": 1,
        "learners": 0,
        "members": [
            {
                "id": 1,
                "name": "dev",
                "endpoint": "http://dev:8443",
                "role": "voter",
                "leader": True,
            }
        ],
    } == json.loads(answer.content)


def test_members_are_no_secret_free_knowledge(server: Running) -> None:
    """Without a secret there is no answer but 401."""
    assert 401 == httpx.get(f"{server.url}/cluster/1").status_code


def test_a_member_that_waits_does_not_know_the_members(server: Running) -> None:
    """503, so that the client asks another one."""
    server.database.cluster = None

    assert 503 == httpx.get(f"{server.url}/cluster/1", headers=AUTH).status_code


def test_only_get_is_served(server: Running) -> None:
    """Nothing can be changed over the client port."""
    assert 405 == httpx.post(f"{server.url}/cluster/1", headers=AUTH).status_code
