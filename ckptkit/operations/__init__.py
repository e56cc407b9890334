"""Operations: how one output tensor is made of stored tensors, each with what it promises."""
