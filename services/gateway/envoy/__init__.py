"""Envoy's configuration, made from the contract and the settings.

`render.py` puts together what the other files give: listeners, their routes, the clusters behind
them, and how Envoy words its own refusals.
"""
