from __future__ import annotations

from pathlib import Path

import pytest

from serve.delivery import keys, signature
from serve.delivery.keys import PublicKey


@pytest.fixture(scope="session")
def key_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with site.pem, site.pub, other.pem and other.pub."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("site", "other"):
        keys.new_key(folder / f"{name}.pem", folder / f"{name}.pub", f"the {name} key")
    return folder


@pytest.fixture
def site_key(key_folder: Path) -> PublicKey:
    return keys.read_public(key_folder / "site.pub")


@pytest.fixture
def signed_path(bundle_path: Path, key_folder: Path) -> Path:
    """A bundle that the site's key signed."""
    signature.sign(bundle_path, keys.read_private(key_folder / "site.pem"))
    return bundle_path
