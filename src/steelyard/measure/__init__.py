"""Systems over examples → Trials → Verdict. Sees only the System protocol."""
