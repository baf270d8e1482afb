"""Landed files become bronze events and quarantine rows; nothing is lost and nothing counted twice."""
