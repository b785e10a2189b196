/* exp.h - e^x and 2^x of vectors; stands after a vec.h. Internal. */
#ifndef PX_KERNELS_VECTOR_EXP_H
#define PX_KERNELS_VECTOR_EXP_H

/* e^r, and n, of x = n ln 2 + r, |r| <= ln 2 / 2, by the Taylor series to r^6; the first term left
 * out is at most 1.2e-7 of the result, one ulp. */
PX_INLINE px_vec px_vec_exp_parts(px_vec x, px_vec *n)
{
    px_vec whole = px_vec_round(px_vec_mul(x, px_vec_all(1.44269504f)));
    px_vec r = px_vec_fnma(whole, px_vec_all(0.693359375f), x);
    r = px_vec_fnma(whole, px_vec_all(-2.12194440e-4f), r);
    px_vec p = px_vec_all(1.0f / 720);
    p = px_vec_fma(p, r, px_vec_all(1.0f / 120));
    p = px_vec_fma(p, r, px_vec_all(1.0f / 24));
    p = px_vec_fma(p, r, px_vec_all(1.0f / 6));
    p = px_vec_fma(p, r, px_vec_all(0.5f));
    p = px_vec_fma(p, r, px_vec_all(1.0f));
    *n = whole;
    return px_vec_fma(p, r, px_vec_all(1.0f));
}

/* 2^x for x <= 0, within 2 ulp; 0 below -125, before it would be subnormal. The polynomial is 1 at
 * 0 and within 1e-7 of 2^r for |r| <= 1/2: the least largest relative error of its degree (by
 * Lawson's reweighted least squares). */
PX_INLINE px_vec px_vec_exp2_below_0(px_vec x)
{
    px_vec n = px_vec_round(x), r = px_vec_sub(x, n), p = px_vec_all(1.32647273e-3f);
    p = px_vec_fma(p, r, px_vec_all(9.67151299e-3f));
    p = px_vec_fma(p, r, px_vec_all(5.55073358e-2f));
    p = px_vec_fma(p, r, px_vec_all(2.40222424e-1f));
    p = px_vec_fma(p, r, px_vec_all(6.93147004e-1f));
    p = px_vec_fma(p, r, px_vec_all(1.0f));
    return px_vec_where_less(x, px_vec_all(-125), px_vec_all(0), px_vec_scale2(p, n));
}

/* e^x for any x, within 2 ulp; infinite above 88.7. */
PX_INLINE px_vec px_vec_exp(px_vec x)
{
    px_vec n, p = px_vec_exp_parts(x, &n);
    /* n may be 128: scale in two steps, so that each factor is a normal number */
    px_vec half = px_vec_round(px_vec_mul(n, px_vec_all(0.5f)));
    p = px_vec_scale2(px_vec_scale2(p, half), px_vec_sub(n, half));
    p = px_vec_where_less(x, px_vec_all(-87.3f), px_vec_all(0), p);
    return px_vec_where_less(px_vec_all(88.7f), x, px_vec_all(__builtin_inff()), p);
}

#endif
