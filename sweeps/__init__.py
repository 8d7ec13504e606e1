"""Orchestration: a sweep file becomes points, points become a plan, a plan is executed into a store."""
