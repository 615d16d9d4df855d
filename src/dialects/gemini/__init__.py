"""`gemini`: Google's generateContent, at the Gemini API and (variant `vertex`) at Vertex AI.

Provider side only: no client speaks it to the broker.
"""

from .dialect import Gemini

__all__ = ["Gemini"]
