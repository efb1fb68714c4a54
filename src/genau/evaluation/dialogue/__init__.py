"""Evaluation in words: MMAD and VisA-D&R for endpoints, local vision-language models and GenAU."""
