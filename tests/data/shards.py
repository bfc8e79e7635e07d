"""WebDataset archives for tests."""

import io
import tarfile


def shard(path, samples):
    """Write samples, each {suffix: bytes or text}, as one archive."""
    with tarfile.open(path, "w") as archive:
        for number, sample in enumerate(samples):
            for suffix, data in sample.items():
                content = data.encode() if isinstance(data, str) else data
                member = tarfile.TarInfo(f"{path.stem}-{number:05d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path
