"""Any call, with arguments of all kinds: what comes of it."""
