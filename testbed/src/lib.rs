//! What tests share: a real registry on loopback, base images, an ordinary user.
