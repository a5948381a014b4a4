"""Requests that another region answers: passed on to its gateway as they came."""
