"""Classification losses on regions: what a wrong class costs a sampled proposal."""
