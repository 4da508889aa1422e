"""The volumes of pods, as Docker's."""

import io
import tarfile
from uuid import uuid4

from docker import DockerClient
from docker.models.volumes import Volume
from docker.types import Mount

from tests.charts.helm import Pod
from tests.charts.specification import Sources

_Files = dict[str, tuple[str, int]]


class Volumes:
    """Makes what a pod mounts. A claim is made once and stays; everything else belongs to its pod."""

    def __init__(self, client: DockerClient, prefix: str, labels: dict[str, str]) -> None:
        self._client = client
        self._prefix = prefix
        self._labels = labels
        self._claims: dict[str, Volume] = {}

    def close(self) -> None:
        for volume in self._claims.values():
            volume.remove(force=True)

    def remove(self, volumes: dict[str, Volume]) -> None:
        """Those of a pod, but for its claims."""
        kept = {volume.name for volume in self._claims.values()}
        for volume in volumes.values():
            if volume.name not in kept:
                volume.remove(force=True)

    def make(self, pod: Pod, name: str, sources: Sources) -> dict[str, Volume]:
        """The volumes of a pod by their names in its specification, filled, with the group that it wants."""
        group = pod.spec.get("securityContext", {}).get("fsGroup", 0)
        templates = pod.owner["spec"].get("volumeClaimTemplates", [])
        claims = {claim["metadata"]["name"]: f"{claim['metadata']['name']}-{name}" for claim in templates}
        contents: dict[str, _Files] = {}
        volumes = {}
        for volume in pod.spec.get("volumes", []):
            if "persistentVolumeClaim" in volume:
                claims[volume["name"]] = volume["persistentVolumeClaim"]["claimName"]
            else:
                volumes[volume["name"]] = self._new()
                contents[volume["name"]] = dict(sources.files(volume))
        for volume, claim in claims.items():
            if claim not in self._claims:
                self._claims[claim] = self._new()
                contents[volume] = {}
            volumes[volume] = self._claims[claim]
        if contents:
            self._fill(pod, {name: volumes[name] for name in contents}, contents, group)
        return volumes

    def _new(self) -> Volume:
        return self._client.volumes.create(f"{self._prefix}-{uuid4().hex[:8]}", labels=self._labels)

    def _fill(self, pod: Pod, volumes: dict[str, Volume], contents: dict[str, _Files], group: int) -> None:
        """Gives the volumes their group, mode and files, through a container that never runs."""
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name in volumes:
                folder = tarfile.TarInfo(f"volumes/{name}")
                folder.type, folder.mode, folder.gid = tarfile.DIRTYPE, 0o2777, group
                tar.addfile(folder)
                for path, (text, mode) in contents[name].items():
                    file = tarfile.TarInfo(f"volumes/{name}/{path}")
                    content = text.encode()
                    # A kubelet lets the group read what the owner may read, the owner being root.
                    file.size, file.gid, file.mode = len(content), group, mode | (mode >> 3 & 0o040)
                    tar.addfile(file, io.BytesIO(content))
        mounts = [Mount(f"/volumes/{name}", made.name, type="volume", no_copy=True) for name, made in volumes.items()]
        helper = self._client.containers.create(pod.spec["containers"][0]["image"], mounts=mounts, labels=self._labels)
        try:
            helper.put_archive("/", archive.getvalue())
        finally:
            helper.remove(force=True, v=True)
