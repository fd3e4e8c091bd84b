"""A life of a member's storage in which everything happens that its code can do."""

from disk_test_helpers.member import StoredMember


def far_ahead(storage: StoredMember) -> StoredMember:
    """Bring a storage so far that a snapshot of it can be installed; return it."""
    storage.open()
    for _ in range(30):
        storage.append(3)
    storage.commit_and_apply()
    storage.snapshot()
    return storage


def life(storage: StoredMember, leader: StoredMember) -> None:
    """Everything that a member's storage does, twice over a stop in between."""
    storage.open()
    storage.vote()
    for round_ in range(2):
        storage.append(2)
        storage.append(3, large=700)
        storage.replace_tail()
        storage.opened.wal.prepare_spare()
        storage.commit_and_apply()
        storage.snapshot()
        storage.vote()
        storage.append(1, large=9000)
        storage.append(4)
        storage.commit_and_apply()
        storage.opened.engine.force_sync()
        storage.snapshot()
        storage.append(3)
        if round_ == 0:
            storage.stop()
            storage.open()
    storage.install_from(leader)
    storage.append(2)
    storage.commit_and_apply()
    storage.snapshot()
    storage.stop()
    storage.open()
    storage.append(1)
