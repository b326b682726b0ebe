from nlstm_jax.runs import higher_is_better


def test_accuracies_are_the_better_the_higher_and_losses_are_not() -> None:
    assert higher_is_better("valid_accuracy")
    assert not higher_is_better("perplexity")
