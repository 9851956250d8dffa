"""Operations: how they are accepted, attempted, waited for, and which credentials they carry."""
