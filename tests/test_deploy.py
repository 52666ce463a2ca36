"""The files for a real server have the form that systemd and Kubernetes expect; they are not run here."""

import shutil
import subprocess

import pytest
import yaml

from test_documentation import ROOT

UNITS = sorted((ROOT / "deploy" / "systemd").iterdir())
MANIFESTS = sorted((ROOT / "deploy" / "kubernetes").iterdir())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_units_are_what_systemd_expects(unit):
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False, timeout=60
    )
    # the server's own environment is not on this machine
    said = [line for line in done.stderr.splitlines() if unit.name in line and "not executable" not in line]
    assert said == []


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_name_what_they_mount_and_carry_no_secret(path):
    documents = list(yaml.safe_load_all(path.read_text()))
    assert documents
    for document in documents:
        assert {"apiVersion", "kind", "metadata", "spec"} <= document.keys()
    text = path.read_text().lower()
    assert "password=" not in text
    pods = [spec for document in documents for spec in pod_specs(document)]
    for pod in pods:
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
            assert all("secretRef" in source for source in container.get("envFrom", []))
    if pods:  # whoever talks to the server gets what it takes from a secret
        assert any(container.get("envFrom") for pod in pods for container in pod["containers"])


def pod_specs(tree):
    if isinstance(tree, dict):
        if "containers" in tree:
            yield tree
        for value in tree.values():
            yield from pod_specs(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from pod_specs(value)
