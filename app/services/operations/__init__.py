"""Operations: acceptance, attempts, waiting, and the credentials that they carry."""
