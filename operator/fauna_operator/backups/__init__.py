"""FaunaBackup and FaunaScheduledBackup: when there is a backup, and whether it counts.

    reconcile → observe | plan | status | act → render → model        of one backup
    scheduler → observe | schedule → moments | retention             of one schedule

A backup is made by a Job that runs `faunadb backup` beside the members; what it says last is the
only source of figures. Nothing here ever touches a member, its pod, or its volume.
"""
