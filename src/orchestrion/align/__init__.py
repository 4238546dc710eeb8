"""When each word of a song is sung: from a prior's attention to the lyrics, or by a guess to compare with."""
