-- The noise floor as one number: the mean over positions of the comparison with the largest, T = 1.
-- One row per (model, readout, block, sublayer, space); the first three are NULL for the model's
-- own output.
SELECT
    model,
    readout,
    block,
    sublayer,
    space,
    max(mean_angular_deviation) AS angular_deviation,
    max(mean_kl_divergence) AS kl_divergence
FROM noise_floor
GROUP BY ALL
