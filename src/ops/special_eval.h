// Special functions of double numbers that the C library does not have. NaN outside their domains.
#pragma once

namespace tenon::special {

double digamma(double x);
double erfinv(double y);
double ndtri(double p);                    // the quantile of the normal distribution
double bessel_ie(double order, double x);  // I, of order 0 or 1, times e^-|x|
double bessel_ke(double order, double x);  // K, of order 0 or 1, times e^x
double dawson(double x);
double exponential_integral(double x);  // Ei, of x >= 0
double fresnel_sin(double x);
double fresnel_cos(double x);
double spence(double x);  // the dilogarithm of 1 - x

double igamma(double a, double x);   // regularised, from 0 to x
double igammac(double a, double x);  // regularised, from x on
double zeta(double x, double q);     // Hurwitz
double polygamma(double n, double x);
double betainc(double a, double b, double x);  // regularised

}  // namespace tenon::special
