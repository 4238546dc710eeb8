"""When each word of a song is sung: from a prior's attention to the lyrics, by a recogniser of letters that listens, or
by a guess to compare with."""
