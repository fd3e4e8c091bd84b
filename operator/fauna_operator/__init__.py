"""The operator: it looks, decides, and acts, and only the deciding knows what is right.

    wiring → reconcile → observe | plan | act | status → render | kube | database | pki → model

Start reading at `plan/rules.py`.
"""
